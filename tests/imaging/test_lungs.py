"""Right and left lung of masks in two pieces, one, touching or many; and the measures of a region."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from cxr_ray.imaging.lungs import centroid_xy, lung_pair, rim_length
from cxr_ray.models.coarse_mask import largest_components
from cxr_ray.phantoms.phantom import draw_phantom


def components_of(mask, keep=2):
    return largest_components(torch.from_numpy(mask)[None], keep=keep).components[0]


def rectangles(*boxes, shape=(40, 60)):
    mask = np.zeros(shape, bool)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("seed", range(4))
def test_the_lungs_of_phantoms(seed):
    phantom = draw_phantom("Normal", seed=seed, size=128)
    pair = lung_pair(components_of(phantom.lung_mask))
    assert np.array_equal(pair.right | pair.left, phantom.lung_mask)
    assert not (pair.right & pair.left).any()
    assert centroid_xy(pair.right)[0] < 0.5 < centroid_xy(pair.left)[0], "the patient faces the viewer"
    assert 0.5 < pair.symmetry <= 1


def test_touching_lungs_are_cut_at_their_bridge():
    mask = rectangles((5, 35, 8, 24), (5, 35, 34, 52), (18, 22, 24, 34))
    pair = lung_pair(components_of(mask))
    assert pair.right[:, :24].sum() == 30 * 16
    assert pair.left[:, 34:].sum() == 30 * 18
    assert np.array_equal(pair.right | pair.left, mask)


@pytest.mark.parametrize(("width", "are_two"), [(29, False), (30, True)])
def test_a_single_piece_is_two_lungs_from_three_quarters_of_its_height_on(width, are_two):
    mask = rectangles((0, 40, 5, 5 + width))
    pair = lung_pair(components_of(mask))
    assert (pair.left.any() and pair.right.any()) == are_two


@pytest.mark.parametrize(("thin", "cut"), [(14, 20), (15, 15), (24, 24), (25, 20)])
def test_a_piece_is_cut_at_the_thinnest_column_of_its_middle_third(thin, cut):
    mask = rectangles((0, 40, 5, 35))  # the middle third is columns 15 to 24
    mask[10:, thin] = False
    mask[30:, 20] = False
    pair = lung_pair(components_of(mask))
    assert not pair.right[:, cut:].any()
    assert not pair.left[:, :cut].any()
    assert np.array_equal(pair.right | pair.left, mask)


@pytest.mark.parametrize(("left_edge", "side"), [(6, "right"), (42, "left")])
def test_a_single_narrow_piece_is_the_lung_of_its_side(left_edge, side):
    mask = rectangles((5, 35, left_edge, left_edge + 12))
    pair = lung_pair(components_of(mask))
    assert np.array_equal(getattr(pair, side), mask)
    assert pair.symmetry == 0


def test_crumbs_go_to_the_nearer_lung():
    mask = rectangles((5, 35, 5, 20), (5, 35, 35, 52), (0, 2, 22, 25), (38, 40, 30, 33))
    pair = lung_pair(components_of(mask, keep=4))
    assert pair.right[:2, 22:25].all()
    assert pair.left[38:, 30:33].all()


def test_no_lung():
    pair = lung_pair(np.zeros((5, 7), np.uint8))
    assert not pair.right.any()
    assert not pair.left.any()
    assert pair.symmetry is None
    assert centroid_xy(pair.left) is None


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.1, 0.9))
def test_every_pixel_is_in_one_lung_and_the_rim_is_what_erosion_takes(seed, density):
    mask = np.random.default_rng(seed).random((17, 23)) < density
    pair = lung_pair(components_of(mask, keep=255))
    assert np.array_equal(pair.right | pair.left, mask)
    assert not (pair.right & pair.left).any()
    assert rim_length(mask) == mask.sum() - ndimage.binary_erosion(mask).sum()


def test_a_centroid_is_a_share_of_the_frame():
    assert centroid_xy(rectangles((10, 20, 30, 60))) == pytest.approx((45 / 60, 15 / 40))
