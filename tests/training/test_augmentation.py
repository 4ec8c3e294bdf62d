import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_ray.config.segmenter_training import MAX_BEND
from cxr_ray.training.augmentation import Augmentation, RandomResizedCrop

STILL = {"flip": 0.0}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def square():
    """64 images with a bright square of 8 x 8 pixels, whose centre is 12 right of and 4 below the image's centre."""
    grey = torch.zeros(64, 1, 64, 64)
    grey[:, :, 32:40, 40:48] = 200.0
    return grey


def centres(views):
    """Compute the centre of brightness (x, y) of each view, in pixels from the middle of the view."""
    mass = views[:, 0]
    axis = torch.arange(64) - 31.5
    total = mass.sum((1, 2))
    return torch.stack([(mass.sum(1) * axis).sum(1) / total, (mass.sum(2) * axis).sum(1) / total], 1)


def test_limits_of_zero_change_nothing(square):
    assert Augmentation(**STILL)(square, seeded()).equal(square)


def test_mirrored_is_exactly_mirrored_with_and_without_other_moves(square):
    assert Augmentation(flip=1.0)(square, seeded()).equal(square.flip(3))
    nearly = Augmentation(flip=1.0, rotate=1e-4)(square, seeded())
    torch.testing.assert_close(nearly, square.flip(3), atol=0.1, rtol=0)


def test_half_of_the_views_are_mirrored_and_a_seed_repeats_them(square):
    views = Augmentation()(square, seeded(1))
    assert 0.3 < (centres(views)[:, 0] < 0).float().mean() < 0.7
    assert views.equal(Augmentation()(square, seeded(1)))
    assert not views.equal(Augmentation()(square, seeded(2)))


def test_rotation_keeps_the_distance_and_stays_within_the_angle(square):
    found = centres(Augmentation(rotate=20.0, **STILL)(square, seeded()))
    start = centres(square)
    torch.testing.assert_close(found.norm(dim=1), start.norm(dim=1), rtol=0.01, atol=0.05)
    angles = torch.atan2(found[:, 1], found[:, 0]) - torch.atan2(start[:, 1], start[:, 0])
    assert angles.abs().max() <= math.radians(20.2)
    assert angles.max() > math.radians(10)
    assert angles.min() < -math.radians(10)


def test_translation_reaches_as_far_as_asked_along_both_axes(square):
    moved = centres(Augmentation(translate=0.1, **STILL)(square, seeded())) - centres(square)
    assert moved.abs().amax(0).max() <= 6.41
    assert (moved.abs().amax(0) > 4).all()


def test_scale_changes_the_area_within_its_bounds(square):
    areas = Augmentation(scale=0.2, **STILL)(square, seeded()).sum((1, 2, 3)) / square.sum((1, 2, 3))
    assert areas.min() > 0.8**2 * 0.97
    assert areas.max() < 1.2**2 * 1.03
    assert areas.max() - areas.min() > 0.4


def test_a_view_that_is_stretched_in_width_shrinks_in_height_by_the_same_factor(square):
    mass = Augmentation(stretch=0.25, **STILL)(square, seeded())[:, 0]
    across, down = spread(mass.sum(1)) / spread(square[:, 0].sum(1)), spread(mass.sum(2)) / spread(square[:, 0].sum(2))
    assert 1.2 < across.max() < 1.27
    assert 1 / 1.27 < across.min() < 1 / 1.2
    torch.testing.assert_close(across * down, torch.ones(64), rtol=0.06, atol=0)


def spread(mass):
    """Compute the standard deviation, in pixels, of the position along the brightness profiles [N, 64]."""
    fraction, positions = mass / mass.sum(1, keepdim=True), torch.arange(64.0)
    middle = (fraction * positions).sum(1, keepdim=True)
    return (fraction * (positions - middle) ** 2).sum(1).sqrt()


def test_a_bent_view_moves_its_parts_differently_and_folds_nowhere():
    ramp = torch.arange(64.0).expand(64, 64)
    planes = torch.stack([ramp, ramp.T]).expand(100, 2, 64, 64)  # a point shows its own x and y
    x, y = Augmentation(bend=MAX_BEND, **STILL).moved(planes, seeded())[:, :, 16:48, 16:48].unbind(1)
    assert (x.diff(dim=2) > 0).all()
    assert (y.diff(dim=1) > 0).all()
    shifts = x - ramp[16:48, 16:48]
    assert shifts.abs().max() < 1.5 * MAX_BEND * 64
    assert (shifts.amax((1, 2)) - shifts.amin((1, 2))).median() > 3, "pixels by which shifts differ in one view"


def test_shade_differs_from_part_to_part_but_slowly():
    grey = torch.full((50, 1, 64, 64), 120.0)
    shades = Augmentation(shade=0.2, **STILL)(grey, seeded())[:, 0] - 120
    assert 20 < (shades.amax((1, 2)) - shades.amin((1, 2))).median() < 2 * 1.3 * 0.2 * 255
    assert shades.diff(dim=2).abs().max() < 10, "neighbouring pixels must differ by less than 10 grey values"


@given(
    brightness=st.floats(0, 0.5), contrast=st.floats(0, 1), gamma=st.floats(0, 2), erase=st.floats(0, 1),
    rotate=st.floats(0, 90), scale=st.floats(0, 0.9), stretch=st.floats(0, 1),
    bend=st.floats(0, MAX_BEND), shade=st.floats(0, 0.5), seed=st.integers(0, 2**31),
)  # fmt: skip
@settings(deadline=None, max_examples=40)
def test_views_keep_shape_and_range_whatever_is_asked_for(seed, **options):
    grey = 255 * torch.rand(3, 1, 16, 24, generator=seeded(seed))
    views = Augmentation(**options)(grey, seeded(seed))
    assert views.shape == grey.shape
    assert views.dtype == torch.float32
    assert views.isfinite().all()
    assert views.min() >= 0
    assert views.max() <= 255.01


def test_tones_change_and_differ_from_image_to_image():
    grey = torch.full((32, 1, 8, 8), 100.0)
    levels = Augmentation(brightness=0.1, **STILL)(grey, seeded()).mean((1, 2, 3))
    assert (levels - 100).abs().max() <= 25.6
    assert levels.unique().numel() == 32


def test_erasing_takes_a_part_of_the_area_and_leaves_other_images_as_they_are():
    grey = torch.zeros(400, 1, 32, 32)
    grey[..., ::2] = 200.0
    changed = (Augmentation(erase=0.5, **STILL)(grey, seeded()) != grey).float().mean((1, 2, 3))
    assert 0.4 < (changed > 0).float().mean() < 0.6
    assert changed.max() <= 0.25


def test_a_crop_shows_the_fraction_of_the_area_asked_for_and_lies_inside():
    ramp = torch.arange(64.0).expand(64, 64)
    grey = torch.stack([ramp, ramp.T]).unsqueeze(1).repeat_interleave(200, 0)  # x first, then y
    across, down = RandomResizedCrop(scale=(0.5, 0.8))(grey, seeded())[:, 0].split(200)
    widths = (across[:, 0, -1] - across[:, 0, 0] + 1) / 64
    heights = (down[:, -1, 0] - down[:, 0, 0] + 1) / 64
    assert across.min() >= 0
    assert across.max() <= 63
    assert widths.max() <= 1.02
    assert widths.min() > (0.5 * 3 / 4) ** 0.5 - 0.02
    assert 0.4 < heights.min() < heights.max() <= 1.02
    assert across[:, 0, 0].max() > 10, "crops lie anywhere"


def test_a_crop_keeps_its_area_whatever_its_shape():
    grey = torch.zeros(300, 1, 64, 64)
    grey[:, :, 28:36, 28:36] = 255.0  # within every crop that keeps 80 %
    views = RandomResizedCrop(scale=(0.8, 0.8))(grey, seeded())
    grown = views.sum((1, 2, 3)) / grey.sum((1, 2, 3))
    torch.testing.assert_close(grown, torch.full((300,), 1 / 0.8), rtol=0.03, atol=0)
    assert views.shape == grey.shape


def test_a_crop_of_everything_is_the_image_and_a_seed_repeats_a_crop(square):
    torch.testing.assert_close(RandomResizedCrop(scale=(1.0, 1.0))(square, seeded()), square, atol=0.01, rtol=0)
    crop = RandomResizedCrop(scale=(0.9, 1.0))
    assert crop(square, seeded(1)).equal(crop(square, seeded(1)))
    assert not crop(square, seeded(1)).equal(crop(square, seeded(2)))
