import re

import pytest

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.folders import place_of
from cxr_ray.preparation.pair_masks import PlacedObject, pair_masks


def placed(*names):
    return [PlacedObject(n, f"s3://b/{n}", place_of(n)) for n in names]


def pairs(images, masks):
    return {i: uri.removeprefix("s3://b/") for i, uri in pair_masks(placed(*images), placed(*masks)).items()}


def test_a_mask_belongs_to_the_image_of_its_folder_and_base_name():
    images = ["COVID/images/1.jpg", "Normal/images/1.png", "viral pneumonia/images/1.png", "COVID/images/2.png"]
    masks = ["COVID/masks/1.png", "Normal/masks/1.png", "Viral_Pneumonia/masks/1.png"]
    assert pairs(images, masks) == {
        "COVID/images/1.jpg": "COVID/masks/1.png",
        "Normal/images/1.png": "Normal/masks/1.png",
        "viral pneumonia/images/1.png": "Viral_Pneumonia/masks/1.png",
    }


def test_images_of_one_base_name_need_masks_of_their_full_names():
    assert pairs(["images/x.png", "images/x.jpg"], ["masks/x.jpg", "masks/x.png"]) == {
        "images/x.png": "masks/x.png",
        "images/x.jpg": "masks/x.jpg",
    }
    assert pairs(["covid/images/x.png", "COVID/images/x.png"], ["covid/masks/x.png", "COVID/masks/x.png"]) == {
        "covid/images/x.png": "covid/masks/x.png",
        "COVID/images/x.png": "COVID/masks/x.png",
    }


@pytest.mark.parametrize(
    ("images", "masks", "message"),
    [
        (["images/x.png", "images/x.jpg"], ["masks/x.png"], "images/x.jpg and images/x.png share the mask masks/x.png"),
        (["images/x.png"], ["masks/x.png", "masks/x.jpg"], "images/x.png has the masks masks/x.jpg and masks/x.png"),
        (
            ["images/x.png", "images/x.jpg"],
            ["masks/x.png", "masks/x.tif"],
            "images/x.jpg and images/x.png share the masks masks/x.png and masks/x.tif",
        ),
    ],
)
def test_a_mask_that_may_belong_to_several_images_is_refused(images, masks, message):
    for reverse in (False, True):
        with pytest.raises(
            DatasetError, match=re.escape(f"{message}; give every image one mask with its own base name")
        ):
            pairs(sorted(images, reverse=reverse), sorted(masks, reverse=reverse))


def test_images_of_one_base_name_may_lack_masks(caplog):
    assert pairs(["images/x.png", "images/x.jpg"], []) == {}
    assert caplog.text == ""


def test_masks_without_an_image_are_counted(caplog):
    assert pairs(["COVID/images/1.png"], ["COVID/masks/1.png", "Normal/masks/1.png", "COVID/masks/1_mask.png"]) == {
        "COVID/images/1.png": "COVID/masks/1.png"
    }
    assert "2 of 3 masks belong to no image, the first is COVID/masks/1_mask.png" in caplog.text
