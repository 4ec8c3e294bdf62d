import numpy as np
import pytest

from cxr_ray.auditing.regions import border_alone, lungs_alone, only, outline, widened, without_lungs


@pytest.fixture
def images():
    """Two images of noise, uint8 [2, 40, 40], with a square lung each, bool [2, 40, 40]."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 40, 40), np.uint8)
    lungs = np.zeros(pixels.shape, bool)
    lungs[0, 10:20, 12:24], lungs[1, 0:8, 5:9] = True, True
    return pixels, lungs


def test_what_is_hidden_becomes_the_mean_of_what_is_kept(images):
    pixels, lungs = images
    shown = only(pixels, lungs)
    for image, before, lung in zip(shown, pixels, lungs, strict=True):
        assert (image[lung] == before[lung]).all()
        assert set(np.unique(image[~lung])) == {round(before[lung].mean())}
    assert (only(pixels, np.zeros_like(lungs)) == 0).all()


def test_nothing_of_the_lungs_reaches_the_view_without_them(images):
    pixels, lungs = images
    other = np.where(lungs, 255 - pixels, pixels)
    assert (without_lungs(pixels, lungs) == without_lungs(other, lungs)).all()
    assert (border_alone(pixels, lungs, 0.2) == border_alone(other, lungs, 0.2)).all()
    assert (border_alone(pixels, None, 0.2) != border_alone(other, None, 0.2)).any(), "the second lung is in the border"


def test_nothing_outside_the_lungs_reaches_the_lungs_alone(images):
    pixels, lungs = images
    other = np.where(lungs, pixels, 255 - pixels)
    assert (lungs_alone(pixels, lungs) == lungs_alone(other, lungs)).all()
    assert (outline(lungs) == 255 * lungs).all()


def test_the_border_has_its_width():
    pixels = np.arange(400, dtype=np.int64).reshape(1, 20, 20).astype(np.uint8)
    shown = border_alone(pixels, None, 0.1)
    assert (shown[0, :2] == pixels[0, :2]).all()
    assert (shown[0, :, -2:] == pixels[0, :, -2:]).all()
    assert len(np.unique(shown[0, 2:-2, 2:-2])) == 1


def test_lungs_are_widened_in_every_direction_and_not_into_other_images():
    lungs = np.zeros((2, 100, 100), bool)
    lungs[0, 50, 50] = True
    found = widened(lungs)
    assert found[0, 47:54, 47:54].all()
    assert found.sum() == 49
