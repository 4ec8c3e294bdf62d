import logging
import re

import pytest

from cxr_ray.archive.listing import ListedObject, list_objects
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.layout import LabelledImage, read_layout, without_other_files


def listed(*names: str) -> list[ListedObject]:
    return [ListedObject(name=n, uri=f"s3://b/{n}", size_bytes=1, modified=None, etag=None) for n in names]


def seen(images: list[LabelledImage]) -> list[tuple[str, str | None, str | None, str | None]]:
    return [(i.image_id, i.label, i.split, i.mask_uri) for i in images]


def test_covid19_radiography_database():
    images = read_layout(
        listed(
            "COVID.metadata.xlsx",
            "README.md.txt",
            "Viral Pneumonia/masks/Viral Pneumonia-1.png",
            "Viral Pneumonia/images/Viral Pneumonia-1.png",
            "COVID/images/COVID-1.png",
            "COVID/images/COVID-2.png",
            "COVID/masks/COVID-1.png",
            "COVID/notes.txt",
            "Normal/masks/COVID-2.png",
        )
    )
    assert seen(images) == [
        ("COVID/images/COVID-1.png", "COVID", None, "s3://b/COVID/masks/COVID-1.png"),
        ("COVID/images/COVID-2.png", "COVID", None, None),
        (
            "Viral Pneumonia/images/Viral Pneumonia-1.png",
            "Viral_Pneumonia",
            None,
            "s3://b/Viral Pneumonia/masks/Viral Pneumonia-1.png",
        ),
    ]


def test_medclip_samv2_with_splits():
    images = read_layout(
        listed(
            "COVID/test_images/1.png",
            "COVID/train_images/1.png",
            "COVID/train_masks/1.png",
            "COVID/val_images/1.png",
            "COVID/val_masks/1.jpg",
            "COVID/extra_images/1.png",
        )
    )
    assert seen(images) == [
        ("COVID/test_images/1.png", "COVID", "test", None),
        ("COVID/train_images/1.png", "COVID", "train", "s3://b/COVID/train_masks/1.png"),
        ("COVID/val_images/1.png", "COVID", "val", "s3://b/COVID/val_masks/1.jpg"),
    ]


def test_folders_without_classes():
    assert seen(read_layout(listed("masks/a.png", "images/a.png", "test_images/b.dcm"))) == [
        ("images/a.png", None, None, "s3://b/masks/a.png"),
        ("test_images/b.dcm", None, "test", None),
    ]


def test_folders_of_splits_and_numbers_are_no_classes():
    names = (
        "train/images/a.png",
        "train/masks/a.png",
        "valid/images/a.png",
        "images_001/images/a.png",
        "Test/COVID/images/a.png",
    )
    assert seen(read_layout(listed(*names))) == [
        ("Test/COVID/images/a.png", "COVID", "test", None),
        ("images_001/images/a.png", None, None, None),
        ("train/images/a.png", None, "train", "s3://b/train/masks/a.png"),
        ("valid/images/a.png", None, "val", None),
    ]


def test_the_common_case_says_nothing(caplog):
    caplog.set_level(logging.INFO)
    read_layout(listed("COVID/images/1.png", "COVID/masks/1.png", "COVID/notes.txt", "README", "metadata.csv"))
    assert caplog.text == ""


@pytest.mark.parametrize("names", [(), ("a.png",), ("COVID/a.png",), ("x/COVID/images/a.png",), ("COVID/masks/a.png",)])
def test_no_image_is_an_error_that_shows_the_layout(names):
    with pytest.raises(DatasetError, match=r"no image found; expected CLASS/images/\*, "):
        read_layout(listed(*names))


def test_no_image_names_where_images_lie():
    message = "or images/* below the input; 2 files lie elsewhere, the first is train/NORMAL/a.jpeg"
    with pytest.raises(DatasetError, match=re.escape(message)):
        read_layout(listed("metadata.csv", "train/NORMAL/a.jpeg", "train/PNEUMONIA/b.jpeg"))


def test_a_known_class_that_would_not_be_read_is_refused():
    message = "COVID/a.png would not be read; move the images of COVID to COVID/images"
    with pytest.raises(DatasetError, match=re.escape(message)):
        read_layout(listed("COVID/a.png", "COVID/b.png", "Normal/images/c.png"))


def test_folders_that_are_passed_over_are_named(caplog):
    names = [f"{folder}/{n}.png" for folder in ("COVID/new", "Tuberculosis") for n in range(3)]
    assert len(read_layout(listed("COVID/images/1.png", "overview.png", "incoming/IM0001", *names))) == 1
    assert "8 files in 4 folders that are not read are passed over, the first is overview.png" in caplog.text
    assert "folders passed over: . (1), incoming (1), COVID/new (3), Tuberculosis (3)" in caplog.text


def test_files_that_are_no_images_are_passed_over_by_name_and_content(tmp_path, caplog):
    for name in (
        "COVID/images/1.png",
        "COVID/images/notes.txt",
        "COVID/masks/Thumbs.db",
        "COVID/images/2",
        "COVID/notes.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "COVID/images/dicom.txt").write_bytes(bytes(128) + b"DICM")
    kept = [entry.name for entry in without_other_files(list_objects(str(tmp_path)))]
    assert kept == ["COVID/images/1.png", "COVID/images/2", "COVID/images/dicom.txt", "COVID/notes.txt"]
    assert (
        "2 files in folders of images or masks are no images and are passed over, the first is COVID/images/notes.txt"
        in caplog.text
    )
