import re

import pytest

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.folders import canonical_label, names_no_class, place_of, split_of


@pytest.mark.parametrize(
    ("spelling", "label"),
    [
        ("Viral Pneumonia", "Viral_Pneumonia"),
        ("viral_pneumonia", "Viral_Pneumonia"),
        ("VIRAL-PNEUMONIA", "Viral_Pneumonia"),
        ("  lung   opacity ", "Lung_Opacity"),
        ("covid", "COVID"),
        ("Normal", "Normal"),
        ("Tuberculosis", "Tuberculosis"),
        ("Pleural effusion", "Pleural_effusion"),
    ],
)
def test_spellings_of_a_label_are_one(spelling, label):
    assert canonical_label(spelling) == label


@pytest.mark.parametrize(
    ("name", "label", "split", "role"),
    [
        ("COVID/images/1.png", "COVID", None, "images"),
        ("COVID/Masks/1.png", "COVID", None, "masks"),
        ("images/1.png", None, None, "images"),
        ("test_images/1.png", None, "test", "images"),
        ("COVID/valid_images/1.png", "COVID", "val", "images"),
        ("COVID/training-masks/1.png", "COVID", "train", "masks"),
        ("train/images/1.png", None, "train", "images"),
        ("Train Set/COVID/images/1.png", "COVID", "train", "images"),
        ("COVID/validation/masks/1.png", "COVID", "val", "masks"),
        ("train/train_images/1.png", None, "train", "images"),
        ("images_001/images/1.png", None, None, "images"),
        ("data/COVID-19/images/1.png", "COVID_19", None, "images"),
    ],
)
def test_folders_give_class_split_and_role(name, label, split, role):
    place = place_of(name)
    assert (place.label, place.split, place.role) == (label, split, role)


@pytest.mark.parametrize(
    "name",
    [
        "1.png",
        "COVID/1.png",
        "x/COVID/images/1.png",
        "COVID/extra_images/1.png",
        "COVID/lung masks/1.png",
        "train/val_images/1.png",
        "train/test/images/1.png",
    ],
)
def test_other_folders_are_no_place(name):
    assert place_of(name) is None


@pytest.mark.parametrize("folder", ["COVID_train", "Training A", "val_new", "my-test", "test 2 positive"])
def test_a_split_among_other_words_is_refused(folder):
    message = (
        f"the images in {folder}/images lie in {folder}, which names a split and something else; name the folders as in"
    )
    with pytest.raises(DatasetError, match=re.escape(message)):
        place_of(f"{folder}/images/1.png")


def test_numbered_folders_keep_the_masks_of_equal_names_apart():
    keys = {place_of(f"{folder}/1.png").key for folder in ("images_001/images", "images_002/images", "train/images")}
    assert len(keys) == 3
    assert place_of("images_001/images/1.png").key == place_of("Images-001/masks/1.png").key
    assert place_of("images_001/images/1.png").other_folders == ("images_001",)


@pytest.mark.parametrize(
    "folder",
    [
        "train",
        "val",
        "test",
        "Training",
        "VALID",
        "validation",
        "testing",
        "testset",
        "train_data",
        "val1",
        "images_001",
        "IMAGES-2",
        "batch7",
        "part_03",
        "001",
        "12",
        "p10",
        "patient00001",
        "set_002",
        "archive",
        "data",
        "dataset",
        "x-rays",
        "trainval",
    ],
)
def test_splits_numbers_and_collections_are_no_classes(folder):
    assert names_no_class(folder)


@pytest.mark.parametrize(
    "folder",
    [
        "COVID",
        "COVID-19",
        "COVID19",
        "Normal",
        "Viral Pneumonia",
        "Tuberculosis",
        "class_1",
        "Grade 2",
        "tested",
        "H1N1",
    ],
)
def test_names_of_diseases_are_classes(folder):
    assert not names_no_class(folder)
    assert split_of(folder) is None
