import pytest

from cxr_ray.errors import BundleError
from cxr_ray.models.foreign.preprocessing import Preprocessing, preprocessing_of


def test_transformers_processor_is_read():
    given = {"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": {"shortest_edge": 256}, "crop_size": 224}
    found = preprocessing_of({"image_size": 384}, given | {"do_center_crop": True, "resample": 3}, {})
    assert found == Preprocessing(
        mean=(0.5,) * 3, std=(0.25,) * 3, image_size=224, interpolation="bicubic",
        crops="the centre square", origin="preprocessor_config.json",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "mean", "std"),
    [
        ({"do_normalize": False}, 0.0, 1.0),
        ({"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [51.0] * 3}, 0.5, 0.2),
        ({"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [0.5] * 3}, 0.5, 0.25),
        ({"include_top": True, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}, 0.5, 0.25),
    ],
)
def test_any_scale_becomes_that_of_pixels_in_0_to_1(given, mean, std):
    found = preprocessing_of({}, given, {})
    assert found.mean == pytest.approx((mean,) * 3)
    assert found.std == pytest.approx((std,) * 3)


def test_a_shift_before_the_normalisation_is_refused():
    with pytest.raises(BundleError, match="rescale_offset"):
        preprocessing_of({}, {"rescale_offset": True}, {})


def test_timms_and_open_clips_settings_are_read():
    timm = {
        "mean": [0.1] * 3,
        "std": [0.2] * 3,
        "input_size": [3, 96, 96],
        "interpolation": "bicubic",
        "crop_pct": 0.875,
    }
    found = preprocessing_of({"pretrained_cfg": timm}, {}, {})
    assert (found.mean, found.image_size, found.crops) == ((0.1,) * 3, 96, "the centre 0.875 of each side")
    clip = {"model_cfg": {"vision_cfg": {"image_size": 32}}, "preprocess_cfg": {"mean": [0.4] * 3, "std": [0.3] * 3}}
    found = preprocessing_of({}, {}, clip)
    assert (found.mean, found.image_size, found.interpolation) == ((0.4,) * 3, 32, "bicubic")


def test_without_a_description_nothing_is_known():
    assert preprocessing_of({}, {}, {}) == Preprocessing()
