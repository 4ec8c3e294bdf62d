import hashlib

import numpy as np
import pytest
from scipy import ndimage

from cxr_ray.phantoms.phantom import PHANTOM_LABELS, draw_phantom

DISEASES = tuple(label for label in PHANTOM_LABELS if label != "Normal")
SIZE = 128


def evidence(label: str, seed: int) -> np.ndarray:
    """Difference in grey levels that the disease makes to the picture of the same seed, int [H, W]."""
    sick, clear = (draw_phantom(name, seed=seed, size=SIZE).pixels.astype(int) for name in (label, "Normal"))
    return sick - clear


@pytest.mark.parametrize("label", PHANTOM_LABELS)
def test_same_arguments_give_the_same_picture(label):
    first, second = (draw_phantom(label, seed=5, size=SIZE, patient=9) for _ in range(2))
    assert first.pixels.tobytes() == second.pixels.tobytes()
    assert first.lung_mask.tobytes() == second.lung_mask.tobytes()
    assert (first.label, first.patient_id) == (label, "phantom-9")


def test_pictures_and_masks_have_the_promised_types():
    phantom = draw_phantom("Normal", seed=0)
    assert (phantom.pixels.shape, phantom.pixels.dtype) == ((256, 256), np.uint8)
    assert (phantom.lung_mask.shape, phantom.lung_mask.dtype) == ((256, 256), np.bool_)


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 96, 256])
def test_masks_are_two_lungs(size):
    for seed in range(25):
        mask = draw_phantom("Normal", seed=seed, size=size).lung_mask
        regions, count = ndimage.label(mask, structure=np.ones((3, 3)))
        assert count == 2
        assert 0.15 < mask.mean() < 0.5
        (_, right_lung), (_, left_lung) = ndimage.center_of_mass(mask, regions, [1, 2])
        assert abs(right_lung - left_lung) > size / 3


def test_lungs_are_darker_than_what_surrounds_them():
    for seed in range(10):
        phantom = draw_phantom("Normal", seed=seed, size=SIZE)
        rim = ndimage.binary_dilation(phantom.lung_mask, iterations=8) & ~phantom.lung_mask
        assert phantom.pixels[phantom.lung_mask].mean() + 40 < phantom.pixels[rim].mean()


def test_the_heart_lies_on_the_right_of_the_picture():
    """The left lung is the smaller one in most patients, because the heart takes its space."""
    fractions = []
    for patient in range(20):
        columns = np.nonzero(draw_phantom("Normal", seed=patient, size=SIZE).lung_mask)[1]
        fractions.append(np.mean(columns > SIZE / 2))
    assert np.mean(fractions) < 0.48


@pytest.mark.parametrize("label", DISEASES)
def test_a_disease_changes_nothing_but_the_lungs(label):
    for seed in range(5):
        mask = draw_phantom(label, seed=seed, size=SIZE).lung_mask
        assert np.array_equal(mask, draw_phantom("Normal", seed=seed, size=SIZE).lung_mask)
        change = evidence(label, seed)
        assert not change[~ndimage.binary_dilation(mask, iterations=4)].any()
        assert change[mask].mean() > 3


def test_covid_lies_in_both_lungs_at_the_wall_and_low():
    for seed in range(5):
        mask = draw_phantom("COVID", seed=seed, size=SIZE).lung_mask
        change = evidence("COVID", seed).clip(0)
        right, left = change[:, : SIZE // 2].sum(), change[:, SIZE // 2 :].sum()
        assert min(right, left) > 0.1 * (right + left)
        row = np.arange(SIZE)[:, None]
        assert np.average(row + 0 * change, weights=change) > np.average(row + 0 * mask, weights=mask)


def test_consolidation_lies_in_one_lung():
    for seed in range(5):
        change = evidence("Lung_Opacity", seed).clip(0)
        halves = sorted([change[:, : SIZE // 2].sum(), change[:, SIZE // 2 :].sum()])
        assert halves[0] < 0.05 * halves[1]


def test_viral_pneumonia_lies_in_both_lungs_and_is_fine_grained():
    def fineness(label: str, seed: int) -> float:
        change = evidence(label, seed).astype(float)
        return float(np.std(change - ndimage.gaussian_filter(change, SIZE / 40)) / np.std(change))

    for seed in range(5):
        change = evidence("Viral Pneumonia", seed).clip(0)
        right, left = change[:, : SIZE // 2].sum(), change[:, SIZE // 2 :].sum()
        assert min(right, left) > 0.25 * (right + left)
        assert fineness("Viral Pneumonia", seed) > 1.5 * fineness("Lung_Opacity", seed)


@pytest.mark.slow
def test_brightness_does_not_tell_the_class():
    means = {label: [draw_phantom(label, seed=s, size=64).pixels.mean() for s in range(30)] for label in PHANTOM_LABELS}
    averages = [np.mean(values) for values in means.values()]
    assert max(averages) - min(averages) < np.mean([np.std(values) for values in means.values()])


def test_views_of_one_patient_share_the_anatomy():
    def contour(seed: int, patient: int) -> np.ndarray:
        """Crop the lungs and resize them to one size, so that the position of the film does not matter."""
        mask = draw_phantom("Normal", seed=seed, size=SIZE, patient=patient).lung_mask
        box = mask[ndimage.find_objects(mask.astype(int))[0]].astype(float)
        return ndimage.zoom(box, (64 / box.shape[0], 64 / box.shape[1]), order=1)

    def difference(a: tuple[int, int], b: tuple[int, int]) -> float:
        return float(np.abs(contour(*a) - contour(*b)).mean())

    within = [difference((2 * p, p), (2 * p + 1, p)) for p in range(8)]
    between = [difference((2 * p, p), (2 * p + 1, p + 100)) for p in range(8)]
    assert np.mean(within) < 0.75 * np.mean(between)


def test_every_seed_and_patient_draws_another_picture():
    pictures = [
        draw_phantom("Normal", seed=seed, size=32, patient=patient).pixels for seed in range(4) for patient in range(4)
    ]
    assert len({hashlib.sha256(p.tobytes()).hexdigest() for p in pictures}) == 16


def test_anatomy_does_not_depend_on_the_size():
    small, large = (draw_phantom("Normal", seed=3, size=size).lung_mask for size in (64, 256))
    assert np.mean(small != large[2::4, 2::4]) < 0.02


@pytest.mark.parametrize(
    ("label", "size", "match"),
    [
        ("Pneumothorax", 256, "label must be one of COVID, .*; got 'Pneumothorax'"),
        ("COVID", 16, "size must be >= 32 pixels; got 16"),
    ],
)
def test_wrong_arguments_are_named(label, size, match):
    with pytest.raises(ValueError, match=match):
        draw_phantom(label, seed=0, size=size)
