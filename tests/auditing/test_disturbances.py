import numpy as np
import pytest

from cxr_ray.auditing.disturbances import brightened, coarsened, compressed, inverted, noisy, rotated

PIXELS = np.random.default_rng(1).integers(60, 190, (3, 32, 32), np.uint8)


@pytest.mark.parametrize(
    ("change", "levels"),
    [
        (rotated, (2.0, 20.0)),
        (lambda pixels, level: noisy(pixels, level, seed=0), (2.0, 20.0)),
        (compressed, (95, 5)),
        (brightened, (5.0, 40.0)),
        (coarsened, (0.9, 0.2)),
    ],
)
def test_a_stronger_disturbance_changes_more_and_keeps_the_form(change, levels):
    smooth = coarsened(PIXELS, 0.3)
    changed = [np.abs(change(smooth, level).astype(int) - smooth).mean() for level in levels]
    assert 0 < changed[0] < changed[1]
    assert change(smooth, levels[1]).shape == smooth.shape
    assert change(smooth, levels[1]).dtype == np.uint8


def test_brightness_is_added_and_ends_at_white_and_black():
    assert (brightened(PIXELS, 30.0) == PIXELS + 30).all()
    assert (brightened(PIXELS, 300.0) == 255).all()
    assert (brightened(PIXELS, -300.0) == 0).all()


def test_inversion_twice_is_nothing():
    assert (inverted(PIXELS) == 255 - PIXELS).all()
    assert (inverted(inverted(PIXELS)) == PIXELS).all()


def test_noise_has_its_deviation_and_its_seed():
    grey = np.full((2, 200, 200), 128, np.uint8)
    assert noisy(grey, 10.0, seed=3).std() == pytest.approx(10, rel=0.03)
    assert (noisy(grey, 10.0, seed=3) == noisy(grey, 10.0, seed=3)).all()
    assert (noisy(grey, 10.0, seed=3)[0] != noisy(grey, 10.0, seed=3)[1]).any()


def test_a_quarter_turn_is_a_quarter_turn():
    assert (rotated(PIXELS, 90.0) == np.rot90(PIXELS, axes=(1, 2))).all()
