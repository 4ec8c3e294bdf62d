from types import SimpleNamespace

import numpy as np
import pytest

from cxr_ray.errors import EngineError
from cxr_ray.models.engines.agreement import CHECK_IMAGES, check_pixels, require_agreement
from cxr_ray.models.engines.engine import ForwardPass


def check(expected, found, stray=0.0, outputs="probabilities"):
    """Check given outputs, which stand for those of an engine and of its reference."""
    answers = SimpleNamespace(reference=np.array(expected, np.float32))
    engine = type(
        "Given",
        (),
        {
            "compared_with": "torch",
            "reference": answers.reference,
            "__call__": lambda self, _: np.array(found, np.float32),
        },
    )
    forward = ForwardPass(
        name="m", identity="m", image_size=8, build=lambda: None, outputs=outputs, stray_fraction=stray
    )
    require_agreement(engine(), forward)


def test_the_fixed_batch_is_always_the_same_and_has_light_and_dark_parts():
    pixels = check_pixels(40)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (CHECK_IMAGES, 40, 40))
    assert np.array_equal(pixels, check_pixels(40))
    assert all(np.ptp(image) > 100 for image in pixels)


@pytest.mark.parametrize(
    ("expected", "found"),
    [
        ([[0.7, 0.3]], [[0.685, 0.315]]),
        ([[0.505, 0.495]], [[0.495, 0.505]]),  # the reference itself was not clear
        ([[np.nan, np.nan], [0.2, 0.8]], [[np.nan, 0.5], [0.2, 0.8]]),  # a model of no numbers is no fault of an engine
        ([[0.9]], [[0.89]]),
    ],
)
def test_what_agrees(expected, found):
    check(expected, found)


@pytest.mark.parametrize(
    ("expected", "found", "message"),
    [
        ([[0.7, 0.3]], [[0.67, 0.33]], r"100\.0% of its probabilities differ from those of torch by more than 0\.02"),
        (
            [[0.515, 0.485], [0.9, 0.1]],
            [[0.499, 0.501], [0.9, 0.1]],
            r"50\.0% of its labels differ from those of torch",
        ),
        ([[0.515]], [[0.499]], r"100\.0% of its labels"),
        ([[0.7, 0.3]], [[np.nan, 0.3]], r"50\.0% of its probabilities"),
        ([[0.7, 0.3]], [[0.7, 0.2, 0.1]], r"its output has the shape \[1, 3\], and that of torch \[1, 2\]"),
    ],
)
def test_what_disagrees_is_named(expected, found, message):
    with pytest.raises(EngineError, match=message):
        check(expected, found)


def test_a_few_pixels_of_a_map_may_stray():
    expected = np.full((2, 10, 10), 0.9)
    found = expected.copy()
    found[0, 0, 0] = 0.3
    check(expected, found, stray=0.005)
    found[0, 0, 1] = 0.3
    with pytest.raises(EngineError, match=r"1\.0% of its probabilities"):
        check(expected, found, stray=0.005)


def test_features_agree_by_the_length_of_their_difference():
    check([[3.0, 4.0], [0.0, 0.0]], [[3.06, 4.08], [0.0, 0.0]], outputs="features")
    check([[np.nan, 1.0], [30.0, 40.0]], [[1.0, 1.0], [30.0, 40.9]], outputs="features")
    message = "the features of 50.0% of the images differ from those of torch by more than 2% of their length, at worst by 3.0%"
    with pytest.raises(EngineError, match=message):
        check([[3.0, 4.0], [3.0, 4.0]], [[3.0, 4.0], [3.09, 4.12]], outputs="features")
    with pytest.raises(EngineError, match=r"100\.0% of the images"):
        check([[3.0, 4.0]], [[np.nan, 4.0]], outputs="features")
