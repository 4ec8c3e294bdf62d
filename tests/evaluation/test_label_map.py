import pytest

from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.label_map import map_labels

KNOWN = {"prob_covid", "prob_normal", "prob_viral_pneumonia"}


@pytest.fixture
def mapped(dataset_table, image_row):
    def call(labels, **label_map):
        table = dataset_table([image_row(f"{n}.png", label) for n, label in enumerate(labels)])
        return map_labels(table, label_map, KNOWN, table, "theirs.parquet")

    return call


def test_labels_are_translated_and_left_out(mapped):
    images, left_out = mapped(
        ["sick", "healthy", "old", "Viral Pneumonia", "old"], sick="COVID", healthy="Normal", old=None
    )

    assert images["label"].to_pylist() == ["COVID", "Normal", "Viral Pneumonia"]
    assert images["image_id"].to_pylist() == ["0.png", "1.png", "3.png"]
    assert left_out == {"old": 2}


@pytest.mark.parametrize(
    ("labels", "label_map", "message"),
    [
        (
            ["sick"],
            {},
            r"does not know the label 'sick' of theirs.parquet \(1 such labels\); add sick=OURS to label_map",
        ),
        (["sick"], {"sick": "TB"}, r"maps to 'TB', which the model does not know; its classes are covid, normal"),
        (["COVID"], {"sikc": "COVID"}, r"names 'sikc', which no image of theirs.parquet has; its labels are COVID"),
        (["sick"], {"sick": None}, r"leaves out all 1 images of theirs.parquet"),
    ],
)
def test_what_is_not_understood_is_refused(mapped, labels, label_map, message):
    with pytest.raises(DatasetError, match=message):
        mapped(labels, **label_map)
