import numpy as np
import pytest

from cxr_ray.imaging.quality.exposure import clipped_ends
from cxr_ray.phantoms.phantom import draw_phantom

PHANTOM = draw_phantom("Normal", seed=5, size=224).pixels


def exposed(fraction, *, bright):
    """Stretches the grey levels until this fraction of the pixels is cut off at one end."""
    levels = PHANTOM.astype(float)
    end = np.quantile(levels, 1 - fraction if bright else fraction)
    stretched = levels * 255 / end if bright else (levels - end) * 255 / (255 - end)
    return np.clip(stretched, 0, 255).astype(np.uint8)


def test_a_phantom_is_well_exposed():
    assert clipped_ends(PHANTOM) == (False, False)


@pytest.mark.parametrize("fraction", [0.2, 0.4])
def test_grey_levels_that_are_cut_off_are_found_at_their_end(fraction):
    assert clipped_ends(exposed(fraction, bright=True)) == (True, False)
    assert clipped_ends(exposed(fraction, bright=False))[1]


def test_a_black_collimator_and_white_letters_at_the_margin_are_no_exposure():
    framed = PHANTOM.copy()
    framed[:24], framed[:, :24] = 0, 255
    assert clipped_ends(framed) == (False, False)


def test_more_than_a_twentieth_of_the_middle_has_to_be_cut_off():
    pixels = np.full((100, 100), 128, np.uint8)
    few = pixels.copy()
    few[40:50, 30:58] = 255  # 280 of 76 x 76 pixels
    assert clipped_ends(few) == (False, False)
    few[50, 30:60] = 254
    assert clipped_ends(few) == (True, False)


def test_an_image_of_one_pixel_is_measured():
    assert clipped_ends(np.zeros((1, 1), np.uint8)) == (False, True)
