import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from sklearn.metrics import f1_score, jaccard_score

from cxr_ray.metrics.segmentation import (
    boundary,
    boundary_distances,
    mask_agreement,
)


def disc(radius, *, side=128, centre=(64, 64)):
    rows, columns = np.ogrid[:side, :side]
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def square(*, row=10, column=10, side=20):
    mask = np.zeros((48, 64), dtype=bool)
    mask[row : row + side, column : column + side] = True
    return mask


def test_interior_pixels_are_no_boundary():
    # A 3-D surface routine that receives one slice counts every pixel of a disc as surface, and gives this pair 0.83.
    agreement = mask_agreement(disc(50), disc(40))

    assert agreement.nsd == 0
    assert agreement.hd95 == pytest.approx(10, abs=0.3)
    assert agreement.dsc == pytest.approx(2 * 40**2 / (50**2 + 40**2), abs=0.01)


def test_tolerance_decides_between_concentric_discs():
    assert mask_agreement(disc(50), disc(40), tolerance=9).nsd == 0
    assert mask_agreement(disc(50), disc(40), tolerance=11).nsd == 1


def test_copy_agrees_in_everything():
    agreement = mask_agreement(disc(50), disc(50))

    assert (agreement.dsc, agreement.iou, agreement.nsd, agreement.hd95) == (1, 1, 1, 0)
    assert agreement.predicted_area == agreement.true_area == disc(50).sum()


def test_shifted_square_has_the_nsd_counted_by_hand():
    # Of the 76 boundary pixels of either square, the 20 of the trailing side and the 14 of the leading side that are
    # more than 2 rows from a corner lie 3 columns off.
    agreement = mask_agreement(square(column=13), square())

    assert agreement.nsd == pytest.approx(42 / 76)
    assert agreement.hd95 == 3
    assert agreement.dsc == pytest.approx(17 / 20)
    assert mask_agreement(square(column=13), square(), tolerance=3).nsd == 1


@pytest.mark.parametrize(
    ("moved", "spacing", "hd95"),
    [
        ({"column": 13}, (2.0, 0.5), 1.5),
        ({"row": 13}, (0.5, 2.0), 1.5),
        ({"row": 13}, (2.0, 0.5), 6.0),
    ],
)
def test_spacing_is_of_rows_then_of_columns(moved, spacing, hd95):
    agreement = mask_agreement(square(**moved), square(), spacing=spacing, tolerance_mm=2)

    assert agreement.hd95_mm == hd95
    assert (agreement.nsd_mm == 1) == (hd95 <= 2)
    assert agreement.hd95 == 3, "pixels stay pixels"
    assert agreement.nsd == pytest.approx(42 / 76)


def test_empty_masks_follow_the_convention():
    empty = np.zeros_like(square())

    both = mask_agreement(empty, empty, spacing=(0.5, 2))
    assert (both.dsc, both.iou, both.nsd, both.hd95, both.nsd_mm, both.hd95_mm) == (1, 1, 1, 0, 1, 0)
    for predicted, truth in ((empty, square()), (square(), empty)):
        one = mask_agreement(predicted, truth, spacing=(0.5, 2))
        assert (one.dsc, one.iou, one.nsd, one.nsd_mm) == (0, 0, 0, 0)
        assert one.hd95 == pytest.approx((48**2 + 64**2) ** 0.5), "the diagonal of the image"
        assert one.hd95_mm == pytest.approx((24**2 + 128**2) ** 0.5)


def test_no_pair_of_masks_is_worse_than_a_missing_mask():
    corners = np.zeros((2, 48, 64), dtype=bool)
    corners[0, 0, 0] = corners[1, -1, -1] = True
    assert mask_agreement(*corners).hd95 < mask_agreement(corners[0], np.zeros((48, 64), bool)).hd95


def test_without_a_spacing_there_are_no_mm():
    agreement = mask_agreement(disc(50), disc(40))
    assert (agreement.nsd_mm, agreement.hd95_mm) == (None, None)


def test_single_pixel_and_full_frame_are_measured():
    pixel, full = np.zeros((32, 32), dtype=bool), np.ones((32, 32), dtype=bool)
    pixel[5, 7] = True

    assert mask_agreement(pixel, pixel).nsd == 1
    assert mask_agreement(full, full).nsd == 1
    assert boundary(full).sum() == 4 * 31  # every pixel beyond the frame counts as outside
    there, back = boundary_distances(pixel, full)
    assert there.tolist() == [5]
    assert back.max() == pytest.approx(np.hypot(31 - 5, 31 - 7))


@pytest.mark.parametrize(
    "pair",
    [
        (square().astype(np.uint8), square()),
        (square(), square()[:-1]),
        (square()[None], square()[None]),
    ],
)
def test_other_masks_are_refused_by_name(pair):
    with pytest.raises(ValueError, match=r"masks must be bool \[H, W\] of one shape; got (bool|uint8) \["):
        mask_agreement(*pair)


masks = arrays(np.bool_, (9, 13))


@settings(max_examples=60, deadline=None)
@given(masks, masks)
def test_overlap_equals_scikit_learn_and_is_symmetric(predicted, truth):
    agreement, mirrored = mask_agreement(predicted, truth), mask_agreement(truth, predicted)

    flat = truth.ravel(), predicted.ravel()
    assert agreement.dsc == pytest.approx(f1_score(*flat, zero_division=1))
    assert agreement.iou == pytest.approx(jaccard_score(*flat, zero_division=0) if (truth | predicted).any() else 1)
    assert agreement.iou == pytest.approx(agreement.dsc / (2 - agreement.dsc))
    assert (agreement.nsd, agreement.hd95) == (mirrored.nsd, mirrored.hd95)
    assert 0 <= agreement.nsd <= 1


@settings(max_examples=40, deadline=None)
@given(masks, masks, st.sampled_from([0.0, 1.0, 1.5, 2.0]), st.sampled_from([None, (1.0, 1.0), (0.7, 1.9)]))
def test_boundary_agreement_equals_every_pair_of_pixels(predicted, truth, tolerance, spacing):
    if not (predicted.any() and truth.any()):
        return
    points = [np.argwhere(boundary(mask)) * (spacing or (1, 1)) for mask in (predicted, truth)]
    distance = np.linalg.norm(points[0][:, None] - points[1][None], axis=-1)
    there, back = distance.min(axis=1), distance.min(axis=0)

    agreement = mask_agreement(predicted, truth, tolerance=tolerance, spacing=spacing, tolerance_mm=tolerance)

    near = np.count_nonzero(there <= tolerance) + np.count_nonzero(back <= tolerance)
    found = (agreement.nsd_mm, agreement.hd95_mm) if spacing else (agreement.nsd, agreement.hd95)
    assert found[0] == pytest.approx(near / (len(there) + len(back)))
    assert found[1] == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.143, 0.143), (0.2, 0.35)])
def test_distances_equal_those_of_distance_transforms(spacing):
    predicted, truth = disc(30, centre=(60, 66)) | disc(9, centre=(120, 4)), disc(33) ^ disc(12)
    edges = [mask & ~ndimage.binary_erosion(mask) for mask in (predicted, truth)]
    to_edge = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
    there, back = to_edge[1][edges[0]], to_edge[0][edges[1]]

    agreement = mask_agreement(predicted, truth, spacing=spacing, tolerance_mm=3)

    assert agreement.nsd_mm == pytest.approx((np.concatenate([there, back]) <= 3).mean())
    assert agreement.hd95_mm == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))


@pytest.mark.parametrize(("spacing", "nsd", "hd95"), [(None, 0.3340471, 53.248440), ((0.8, 1.3), 0.3147752, 55.679783)])
def test_boundary_agreement_equals_what_monai_computes(spacing, nsd, hd95):
    """The figures are those of `compute_surface_dice` and `compute_hausdorff_distance` of MONAI 1.6.1."""
    predicted, truth = disc(30, centre=(60, 66)) | disc(9, centre=(120, 4)), disc(33) ^ disc(12)
    agreement = mask_agreement(predicted, truth, tolerance=2, spacing=spacing, tolerance_mm=2)
    found = (agreement.nsd_mm, agreement.hd95_mm) if spacing else (agreement.nsd, agreement.hd95)
    assert found[0] == pytest.approx(nsd, abs=1e-6)
    assert found[1] == pytest.approx(hd95, rel=1e-5)
