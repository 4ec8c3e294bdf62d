"""Probabilities to masks at the size of the image, and the figures of each lung."""

import math

import numpy as np
import pytest
import torch

from cxr_ray.models.coarse_mask import largest_components
from cxr_ray.models.lung_segmentation import lung_figures, pixel_entropy, segmentations_of
from cxr_ray.phantoms.phantom import draw_phantom


@pytest.fixture(scope="module")
def lungs():
    """Lung mask bool [64, 64] of a drawn patient."""
    return draw_phantom("Normal", seed=1, size=64).lung_mask


def test_figures_of_each_lung(lungs):
    components = largest_components(torch.from_numpy(lungs)[None]).components[0]
    entropy = np.zeros((64, 64), np.float32)
    entropy[:, 40:] = 0.5  # doubt in the patient's left half only
    figures = lung_figures(components, entropy, 640, 320)
    assert figures.right is not None
    assert figures.left is not None
    assert figures.right.area_fraction + figures.left.area_fraction == pytest.approx(lungs.mean())
    assert 0 < figures.right.centroid_xy[0] < 160 < figures.left.centroid_xy[0] < 320
    assert 0 < figures.right.centroid_xy[1] < 640
    assert figures.right.uncertainty < 0.1 < figures.left.uncertainty
    assert figures.uncertainty > 0


def test_a_mask_has_the_size_of_its_image_and_crumbs_are_cleaned_away(lungs):
    probability = torch.from_numpy(np.where(lungs, 0.9, 0.1).astype(np.float32))
    probability[0, :2] = 0.9  # a crumb of two pixels
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


def test_entropy_is_greatest_at_a_half_and_none_where_all_is_sure():
    found = pixel_entropy(torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0]))
    torch.testing.assert_close(found, torch.tensor([0.0, 0.3250830, 0.6931472, 0.3250830, 0.0]))
