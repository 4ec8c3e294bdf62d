"""Probabilities give masks at the size of the image, and measurements of each lung."""

import math

import numpy as np
import pytest
import torch

from cxr_ray.models.coarse_mask import largest_components
from cxr_ray.models.lung_segmentation import Lung, LungFigures, lung_figures, pixel_entropy, segmentations_of
from cxr_ray.phantoms.phantom import draw_phantom


@pytest.fixture(scope="module")
def lungs():
    """Lung mask bool [64, 64] of a drawn patient."""
    return draw_phantom("Normal", seed=1, size=64).lung_mask


def test_measurements_of_each_lung(lungs):
    components = largest_components(torch.from_numpy(lungs)[None]).components[0]
    entropy = np.zeros((64, 64), np.float32)
    entropy[:, 40:] = 0.5  # only the patient's left half is uncertain
    figures = lung_figures(components, entropy, 640, 320)
    assert figures.right is not None
    assert figures.left is not None
    assert figures.right.area_fraction + figures.left.area_fraction == pytest.approx(lungs.mean())
    assert 0 < figures.right.centroid_xy[0] < 160 < figures.left.centroid_xy[0] < 320
    assert 0 < figures.right.centroid_xy[1] < 640
    assert figures.right.uncertainty < 0.1 < figures.left.uncertainty
    assert figures.uncertainty > 0


def pieces(*boxes):
    """Components uint8 [20, 20] of rectangles (top, bottom, left, right), of which the first has number 1."""
    components = np.zeros((20, 20), np.uint8)
    for number, (top, bottom, left, right) in enumerate(boxes, start=1):
        components[top:bottom, left:right] = number
    return components


def test_measurements_of_two_rectangles_equal_those_by_hand():
    entropy = np.where(np.arange(20) < 9, 1.0, 2.0).astype(np.float32)[None].repeat(20, 0)
    figures = lung_figures(pieces((6, 16, 12, 16), (4, 10, 2, 6)), entropy, 100, 200)
    # The rims have 24 and 16 pixels; the halves meet midway between the centroids, at column 9.
    right = Lung(area_fraction=24 / 400, centroid_xy=pytest.approx((40, 35)), uncertainty=pytest.approx(20 * 9 / 16))
    left = Lung(
        area_fraction=40 / 400, centroid_xy=pytest.approx((140, 55)), uncertainty=pytest.approx(20 * 11 * 2 / 24)
    )
    assert figures == LungFigures(
        uncertainty=pytest.approx((20 * 9 + 20 * 11 * 2) / (24 + 16)), symmetry=24 / 40, right=right, left=left
    )


def test_a_single_lung_has_all_the_uncertainty_and_a_missing_lung_has_no_measurements():
    entropy = np.full((20, 20), 0.5, np.float32)
    figures = lung_figures(pieces((4, 14, 2, 6)), entropy, 100, 200)
    assert figures.right is not None
    assert (figures.uncertainty, figures.right.uncertainty) == pytest.approx((200 / 24, 200 / 24))
    assert (figures.symmetry, figures.left) == (0, None)
    assert lung_figures(pieces(), entropy, 100, 200) == LungFigures(
        uncertainty=200.0, symmetry=None, right=None, left=None
    )


def test_a_mask_has_the_size_of_its_image_and_small_components_are_removed(lungs):
    probability = torch.from_numpy(np.where(lungs, 0.9, 0.1).astype(np.float32))
    probability[0, :2] = 0.9  # a component of two pixels
    (found,) = segmentations_of(probability[None], [(128, 192)])
    assert found is not None
    assert (found.mask.dtype, found.mask.shape) == (np.bool_, (128, 192))
    assert not found.mask[:3, :9].any()
    assert found.area_fraction == pytest.approx(lungs.mean(), abs=0.01)
    assert found.boxes_xyxy.shape == (2, 4)
    rows, columns = np.nonzero(found.mask)
    assert found.boxes_xyxy[:, 0].min() == pytest.approx(columns.min(), abs=2)
    assert found.boxes_xyxy[:, 3].max() == pytest.approx(rows.max() + 1, abs=2)


def test_an_image_without_foreground_has_no_lungs():
    (found,) = segmentations_of(torch.full((1, 16, 16), 0.2), [(20, 30)])
    assert found is not None
    assert (found.area_fraction, found.right, found.left, found.symmetry) == (0, None, None, None)
    assert found.boxes_xyxy.shape == (0, 4)


def test_an_image_without_finite_numbers_is_none_and_the_others_stay(lungs):
    sound = torch.from_numpy(lungs.astype(np.float32))
    broken = sound.clone()
    broken[3, 3] = math.nan
    first, second = segmentations_of(torch.stack([broken, sound]), [(64, 64), (64, 64)])
    assert first is None
    assert second is not None
    np.testing.assert_array_equal(second.mask, lungs)


def test_entropy_is_maximal_at_one_half_and_zero_at_0_and_1():
    found = pixel_entropy(torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.3250830, 0.6931472, 0.3250830, 0.0]))
