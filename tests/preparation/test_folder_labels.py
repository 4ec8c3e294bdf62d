import re

import pytest

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.folder_labels import check_labels, choose_labels
from cxr_ray.preparation.layout import LabelledImage


def image(name, label, *, mask_uri=None):
    return LabelledImage(image_id=name, uri=f"s3://b/{name}", label=label, mask_uri=mask_uri)


CLASSES = [image("COVID/images/1.png", "COVID"), image("TB/images/2.png", "TB")]
HOSPITALS = [image("north/images/1.png", "north"), image("south/images/2.png", "south")]


def test_labels_of_a_table_and_of_folders_agree():
    assert choose_labels(CLASSES, ["COVID", "tb"]) == ["COVID", "TB"]
    assert choose_labels(CLASSES, [None, "TB"]) == ["COVID", "TB"]
    assert choose_labels([image("images/1.png", None)], ["COVID"]) == ["COVID"]


def test_folders_of_hospitals_yield_to_the_labels_of_a_table(caplog):
    assert choose_labels(HOSPITALS, ["COVID", "Normal"]) == ["COVID", "Normal"]
    assert "no folder is named like a label of metadata.csv, so that its labels count for all 2 images" in caplog.text


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            CLASSES,
            ["Normal", "TB"],
            "gives COVID/images/1.png the label Normal, and its folder gives COVID; fix one of them",
        ),
        (
            HOSPITALS,
            ["COVID", None],
            (
                "gives north/images/1.png the label COVID, and its folder gives north; fix one of them, or label all images in"
                " metadata.csv if folders name no classes"
            ),
        ),
    ],
)
def test_a_contradiction_is_refused_with_both_causes(images, labels, message):
    with pytest.raises(DatasetError, match=f"{re.escape(message)}$"):
        choose_labels(images, labels)


@pytest.mark.parametrize("folder", ["train", "images_001", "data"])
def test_images_of_folders_without_a_class_need_labels_or_masks(folder, caplog):
    name = f"{folder}/images/1.png"
    message = f"1 of 1 images have no label, the first is {name}: a folder that is named after a split, numbered or a collection, such as {folder}, holds no class"
    with pytest.raises(DatasetError, match=message):
        check_labels([image(name, None)])
    check_labels([image(name, "COVID")])
    check_labels([image(name, None, mask_uri="s3://b/mask.png")])
    assert caplog.text == ""


def test_images_without_a_label_are_counted(caplog):
    check_labels([*CLASSES, image("images/1.png", None, mask_uri="s3://b/mask.png")])
    assert "1 of 3 images have no label, the first is images/1.png" in caplog.text


def test_labels_that_look_like_one_are_named(caplog):
    check_labels([image("1", "tuberculosis"), image("2", "Tuberculosis"), image("3", "Normal")])
    assert (
        "the labels Tuberculosis, tuberculosis differ only in capitals, punctuation or a number, and are 2 classes"
        in caplog.text
    )
