import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.errors import DatasetError
from cxr_ray.imaging.resize import resize_image
from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.dataset_images import BATCH_SIZE, batches_of_pixels, labelled_images
from cxr_ray.schema import DATASET


def card(*labels, size=16):
    return ModelCard(backbone="resnet50", labels=labels, image_size=size, weights_sha256="0" * 64)


def rows(**columns):
    count = len(next(iter(columns.values())))
    columns = {"image_id": [f"{i}.png" for i in range(count)], "uri": [""] * count, "split": ["val"] * count} | columns
    return pa.table({field.name: pa.array(columns.get(field.name, [None] * count), field.type) for field in DATASET})


def test_classes_are_numbered_as_the_outputs_are_and_may_be_spelt_otherwise():
    found = labelled_images(rows(label=["b", "Viral Pneumonia", "b"]), card("Viral_Pneumonia", "b"))
    assert found.truth.tolist() == [1, 0, 1]
    assert found.left_out == {}


def test_images_of_other_classes_and_without_one_are_counted():
    found = labelled_images(rows(label=["c", "a", None, "c", "b"]), card("a", "b"))
    assert found.rows["image_id"].to_pylist() == ["1.png", "4.png"]
    assert found.truth.tolist() == [0, 1]
    assert found.left_out == {"c": 2, None: 1}
    with pytest.raises(DatasetError, match="the classifier knows x, y, and no image of the split has such a label"):
        labelled_images(rows(label=["a", None]), card("x", "y"))


def test_to_a_classifier_of_one_label_every_other_label_is_its_absence():
    found = labelled_images(rows(label=["Pneumonia", "Normal", None]), card("Pneumonia"))
    assert found.truth.tolist() == [1, 0]
    assert found.left_out == {None: 1}


def test_images_of_a_patient_and_copies_belong_together():
    found = labelled_images(
        rows(
            label=["a"] * 6,
            patient_id=["p", None, "p", None, None, "q"],
            duplicate_group=["1", "2", "3", "2", None, "p"],
        ),
        card("a", "b"),
    )
    assert found.groups.tolist() == [0, 1, 0, 1, 2, 3]


@pytest.fixture
def images(tmp_path):
    """Rows of 40 files, and their pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (BATCH_SIZE + 8, 20, 30), np.uint8)
    uris = [str(tmp_path / f"{i}.png") for i in range(len(pixels))]
    for uri, image in zip(uris, pixels, strict=True):
        Image.fromarray(image).save(uri)
    contents = [hashlib.sha256(Path(uri).read_bytes()).hexdigest() for uri in uris]
    return rows(uri=uris, content_sha256=contents, label=["a"] * len(uris)), pixels


def test_pixels_are_those_that_an_archive_job_scores(images):
    table, pixels = images
    found = [*batches_of_pixels(table, card("a", "b"))]
    assert [len(batch) for batch in found] == [BATCH_SIZE, 8]
    np.testing.assert_array_equal(np.concatenate(found), [resize_image(image, 16) for image in pixels])


def test_a_file_that_is_gone_or_another_one_is_named(images, tmp_path):
    table, pixels = images
    Image.fromarray(pixels[0]).save(tmp_path / "7.png")
    with pytest.raises(DatasetError, match=r"^7\.png is another file than in the dataset; prepare the dataset again"):
        [*batches_of_pixels(table, card("a", "b"))]
    (tmp_path / "3.png").unlink()
    with pytest.raises(DatasetError, match=r"^3\.png cannot be read: .*; fix the file, or prepare the dataset again"):
        [*batches_of_pixels(table, card("a", "b"))]
