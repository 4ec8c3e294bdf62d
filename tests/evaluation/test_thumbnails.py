import base64
import io
from pathlib import Path

import pytest
from PIL import Image

from cxr_ray.evaluation.thumbnails import SIDE, choose_images, scored_images
from cxr_ray.evaluation.truth_join import class_names, join_truth


@pytest.fixture
def joined(dataset_table, predictions_table, image_row, prediction_row):
    """Rows from (image_id, truth, predicted, confidence) and the URIs of some images."""

    def join(outcomes, uris=None):
        images = dataset_table([image_row(i, t, uri=(uris or {}).get(i)) for i, t, _, _ in outcomes])
        predictions = predictions_table([prediction_row(i, p, c) for i, _, p, c in outcomes])
        return join_truth(images, predictions, class_names(predictions, images))

    return join


def test_most_confident_mistakes_then_correct_ones_of_every_class(joined):
    rows = joined(
        [("wrong 1", "COVID", "Normal", 0.5), ("wrong 2", "Normal", "COVID", 0.9)]
        + [("wrong 3", "Normal", "COVID", 0.7), ("failed", "Normal", None, 0.0)]
        + [(f"covid {k}", "COVID", "COVID", 0.8) for k in range(20)]
        + [("normal", "Normal", "Normal", 0.4)]
    )

    chosen = choose_images(rows, 4)

    assert chosen["image_id"].to_pylist()[:2] == ["wrong 2", "wrong 3"]
    assert sorted(chosen["label"].to_pylist()[2:]) == ["COVID", "Normal"]
    assert choose_images(rows, 4) == chosen


def test_fewer_mistakes_leave_room_for_correct_ones_and_the_reverse(joined):
    rows = joined([(f"right {k}", "COVID", "COVID", 0.8) for k in range(5)] + [("x", "COVID", "Normal", 0.6)])
    assert choose_images(rows, 4)["correct"].to_pylist() == [False, True, True, True]

    rows = joined([(f"wrong {k}", "COVID", "Normal", 0.8) for k in range(5)] + [("x", "COVID", "COVID", 0.6)])
    assert choose_images(rows, 4)["correct"].to_pylist() == [False, False, False, True]


@pytest.mark.parametrize("count", [0, 1, 50])
def test_never_more_than_asked_for_nor_than_there_are(joined, count):
    rows = joined([("a", "COVID", "COVID", 0.8), ("b", "COVID", "Normal", 0.8), ("c", "COVID", None, 0.0)])

    assert choose_images(rows, count).num_rows == min(count, 2)
    assert len(scored_images(choose_images(rows, count))) == min(count, 2)


def test_picture_is_a_small_jpeg_and_an_unreadable_one_says_why(joined, png_archive, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"this is no image")
    uris = {"a": png_archive("a.png"), "b": str(broken), "c": str(tmp_path / "absent.png")}
    rows = joined([(name, "COVID", "COVID", 0.8) for name in uris], uris)

    good, bad, absent = scored_images(rows)

    head, _, body = good.picture.partition(",")
    assert head == "data:image/jpeg;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(body)))
    assert (picture.format, picture.size) == ("JPEG", (64, 48))
    assert (bad.picture, absent.picture, absent.error_kind) == (None, None, "not_found")
    assert bad.error_kind


def test_large_image_is_shrunk_with_its_proportions(joined, tmp_path):
    path = Path(tmp_path / "large.png")
    Image.new("L", (1200, 600), 90).save(path)

    (image,) = scored_images(joined([("a", "COVID", "COVID", 0.8)], {"a": str(path)}))

    picture = Image.open(io.BytesIO(base64.b64decode(image.picture.partition(",")[2])))
    assert picture.size == (SIDE, SIDE // 2)
