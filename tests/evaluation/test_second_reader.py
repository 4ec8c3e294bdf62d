from pathlib import Path

import pyarrow as pa
import pytest

from cxr_ray.archive.tables import write_table
from cxr_ray.errors import DatasetError, StorageError
from cxr_ray.evaluation.second_reader import SECOND_URI, with_second_masks


def images(*ids):
    return pa.table({"image_id": list(ids)})


@pytest.fixture
def folder(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / "second" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"mask")
        return str(tmp_path / "second")

    return make


def found(table, uri):
    return [name and str(Path(name).relative_to(uri)) for name in table[SECOND_URI].to_pylist()]


def test_a_mask_has_the_base_name_of_its_image(folder):
    uri = folder("1.png", "2.jpg", "README.md", "notes/1.txt")
    assert found(with_second_masks(images("images/1.jpeg", "images/2.png", "images/3.png"), uri), uri) == [
        "1.png",
        "2.jpg",
        None,
    ]


def test_folders_decide_between_equal_base_names(folder):
    uri = folder("COVID/masks/1.png", "Normal/masks/1.png")
    table = with_second_masks(images("COVID/images/1.png", "Normal/images/1.png", "hospital/Normal/images/2.png"), uri)
    assert found(table, uri) == ["COVID/masks/1.png", "Normal/masks/1.png", None]


def test_a_mask_that_may_belong_to_two_images_is_refused(folder):
    uri = folder("1.png")
    with pytest.raises(
        DatasetError, match=r"a/1\.png and b/1\.png share the mask 1\.png of .*; put masks into folders"
    ):
        with_second_masks(images("a/1.png", "b/1.png"), uri)


def test_two_masks_of_one_image_are_refused(folder):
    uri = folder("1.png", "masks/1.tiff")
    with pytest.raises(
        DatasetError, match=r"1\.png has several masks in .*: 1\.png and masks/1\.tiff; give every image"
    ):
        with_second_masks(images("1.png"), uri)


def test_masks_of_no_image_are_refused(folder):
    with pytest.raises(DatasetError, match=r"no mask of .* belongs to one of the 1 images, such as 'a/2\.png'"):
        with_second_masks(images("a/2.png"), folder("1.png"))


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"nothing exists at .*absent"):
        with_second_masks(images("1.png"), str(tmp_path / "absent"))


def test_a_table_names_the_mask_of_each_image(tmp_path):
    uri = str(tmp_path / "second.parquet")
    write_table(pa.table({"image_id": ["b", "a", "c"], "mask_uri": ["s3://b", None, "s3://c"]}), uri)
    assert with_second_masks(images("a", "b"), uri)[SECOND_URI].to_pylist() == [None, "s3://b"]

    write_table(pa.table({"image_id": ["b", "b"], "mask_uri": ["s3://b", "s3://c"]}), uri)
    with pytest.raises(DatasetError, match=r"second\.parquet has several masks of one image"):
        with_second_masks(images("a", "b"), uri)
