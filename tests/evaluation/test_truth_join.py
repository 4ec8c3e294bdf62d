import pytest

from cxr_ray.archive.datasets import refuse_duplicates
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.truth_join import class_names, join_truth, labelled_images


@pytest.fixture
def joined(dataset_table, predictions_table):
    def join(images, predictions):
        images, predictions = dataset_table(images), predictions_table(predictions)
        return join_truth(images, predictions, class_names(predictions, images))

    return join


def test_every_image_of_the_split_has_one_row(joined, image_row, prediction_row):
    rows = joined(
        [
            image_row("c", "Normal"),
            image_row("a", "COVID"),
            image_row("b", "COVID"),
            image_row("d", "Normal"),
        ],
        [
            prediction_row("b", None),
            prediction_row("a", "COVID", 0.9),
            prediction_row("elsewhere", "COVID"),
            prediction_row("d", "Lung_Opacity"),
        ],
    )

    assert rows.column_names[:6] == ["image_id", "uri", "label", "predicted", "confidence", "correct"]
    assert rows["image_id"].to_pylist() == ["a", "b", "c", "d"]
    assert rows["status"].to_pylist() == ["ok", "error", "missing", "ok"]
    assert rows["error_kind"].to_pylist() == [None, "truncated", None, None]
    assert rows["correct"].to_pylist() == [True, None, None, False]
    assert rows["prob_covid"].to_pylist()[0] == pytest.approx(0.9)
    assert rows["run_id"].to_pylist() == ["run-1", "run-1", None, "run-1"]


@pytest.mark.parametrize("truth", ["Viral Pneumonia", "Viral_Pneumonia", "viral-pneumonia"])
def test_spellings_of_a_label_are_one_class(joined, image_row, prediction_row, truth):
    rows = joined([image_row("a", truth)], [prediction_row("a", "Viral Pneumonia")])

    assert rows["label"].to_pylist() == rows["predicted"].to_pylist() == ["Viral_Pneumonia"]
    assert rows["correct"].to_pylist() == [True]


def test_classes_follow_the_model_then_what_it_does_not_know(dataset_table, predictions_table, image_row):
    images = dataset_table([image_row("a", "Pleural Effusion"), image_row("b", "Edema")])
    predictions = predictions_table([], ("Normal", "Edema", "Air Leak"))

    assert class_names(predictions, images) == {
        "prob_normal": "Normal",
        "prob_edema": "Edema",
        "prob_air_leak": "air_leak",
        "prob_pleural_effusion": "Pleural Effusion",
    }


def test_split_is_cut_and_unlabelled_images_are_left_out(dataset_table, image_row):
    dataset = dataset_table([image_row("a", "COVID"), image_row("b", None), image_row("c", "COVID", split="train")])

    assert labelled_images(dataset, "test", "there")["image_id"].to_pylist() == ["a"]
    assert labelled_images(dataset, "all", "there")["image_id"].to_pylist() == ["a", "c"]
    with pytest.raises(DatasetError, match=r"split 'val' of there .* choose all or one of: test, train"):
        labelled_images(dataset, "val", "there")


def test_image_in_two_splits_is_refused(dataset_table, image_row):
    dataset = dataset_table([image_row("a", "COVID"), image_row("a", "COVID", split="train")])

    with pytest.raises(DatasetError, match=r"image_id 'a' occurs 2 times in there"):
        labelled_images(dataset, "test", "there")


def test_duplicates_are_counted(predictions_table, prediction_row):
    rows = [prediction_row(image_id, "COVID") for image_id in ("a", "b", "b", "b", "c", "c")]

    with pytest.raises(DatasetError, match=r"'b' occurs 3 times in s3://out \(2 such images\); start over"):
        refuse_duplicates(predictions_table(rows), "s3://out", "start over")


@pytest.mark.parametrize("hole", [{"label": None}, {"prob_normal": float("nan")}, {"confidence": None}])
def test_scored_row_without_its_numbers_is_refused(joined, image_row, prediction_row, hole):
    with pytest.raises(DatasetError, match=r"1 predictions have status ok but .* first 'b'"):
        joined(
            [image_row("a", "COVID"), image_row("b", "COVID")],
            [prediction_row("a", "COVID"), prediction_row("b", "COVID") | hole],
        )
    assert joined([image_row("a", "COVID")], [prediction_row("a", "COVID"), prediction_row("b", "COVID") | hole])
