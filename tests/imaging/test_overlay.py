"""Outlines have the right position and colour, and nothing else of the radiograph changes."""

import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from cxr_ray.imaging.overlay import OUTLINE_COLOUR, draw_contours, overlay_png

RED, BLUE = (255, 0, 0), (0, 0, 255)


def square(height=40, width=60):
    """A mask whose edges are rows 10 and 30 and columns 15 and 45."""
    mask = np.zeros((height, width), bool)
    mask[10:30, 15:45] = True
    return mask


def test_an_outline_of_seven_thirds_covers_one_pixel_on_either_side_of_the_edge():
    radiograph = np.full((40, 60), 70, np.uint8)
    picture = draw_contours(radiograph, [(square(), "#ff0000", 7)], longest_side=60)
    assert (picture.shape, picture.dtype) == ((40, 60, 3), np.uint8)
    across = picture[20]
    assert {tuple(pixel) for pixel in across[[14, 15, 44, 45]].tolist()} == {RED}
    assert {tuple(pixel) for pixel in np.delete(across, [14, 15, 44, 45], 0).tolist()} == {(70, 70, 70)}
    down = picture[:, 30]
    assert {tuple(pixel) for pixel in down[[9, 10, 29, 30]].tolist()} == {RED}
    assert {tuple(pixel) for pixel in np.delete(down, [9, 10, 29, 30], 0).tolist()} == {(70, 70, 70)}


def test_a_thin_outline_is_mixed_with_the_radiograph_by_what_it_covers():
    picture = draw_contours(np.full((40, 60), 30, np.uint8), [(square(), "#ff0000", 3)], longest_side=60)
    # A third of a pixel on either side of the edge.
    assert picture[20, 13:17].tolist() == [[30, 30, 30], [105, 20, 20], [105, 20, 20], [30, 30, 30]]


def test_later_outlines_lie_above_earlier_ones():
    contours = [(square(), "#ff0000", 7), (square(), "#0000ff", 7)]
    assert tuple(draw_contours(None, contours, longest_side=60)[20, 15].tolist()) == BLUE
    assert tuple(draw_contours(None, contours[::-1], longest_side=60)[20, 15].tolist()) == RED


@pytest.mark.parametrize(("shape", "drawn"), [((40, 60), (80, 120)), ((60, 40), (120, 80)), ((1, 500), (1, 120))])
def test_the_picture_has_the_proportions_of_the_mask_and_is_grey_without_a_radiograph(shape, drawn):
    picture = draw_contours(None, [(np.zeros(shape, bool), "#ff0000", 7)], longest_side=120)
    assert picture.shape == (*drawn, 3)
    assert (picture == 90).all()


def test_a_mask_of_another_resolution_is_drawn_at_the_same_place():
    mask = square().repeat(2, 0).repeat(2, 1)
    picture = draw_contours(np.zeros((40, 60), np.uint8), [(mask, "#ff0000", 7)], longest_side=60)
    assert np.flatnonzero(picture[20, :, 0] == 255).tolist() == [14, 15, 44, 45]


def test_the_overlay_is_a_png_of_the_radiograph_s_size_in_one_colour():
    radiograph = np.add.outer(np.arange(40), np.arange(60)).astype(np.uint8)
    picture = np.asarray(Image.open(io.BytesIO(overlay_png(radiograph, square()))))
    assert picture.shape == (40, 60, 3)
    assert tuple(picture[20, 15].tolist()) == ImageColor.getrgb(OUTLINE_COLOUR)
    np.testing.assert_array_equal(picture[20, 20:40], radiograph[20, 20:40, None].repeat(3, 1))
    np.testing.assert_array_equal(picture[:5], radiograph[:5, :, None].repeat(3, 2))
