import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import f1_score, jaccard_score

from cxr_ray.metrics.segmentation import (
    METRICS,
    bootstrap_interval,
    boundary,
    boundary_distances,
    mask_agreement,
    report_text,
    summarise,
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
    agreement = mask_agreement(square(**moved), square(), tolerance=2, spacing=spacing)

    assert agreement.hd95 == hd95
    assert (agreement.nsd == 1) == (hd95 <= 2)


def test_empty_masks_follow_the_convention():
    empty = np.zeros_like(square())

    both = mask_agreement(empty, empty)
    assert (both.dsc, both.iou, both.nsd, both.hd95) == (1, 1, 1, 0)
    for predicted, truth in ((empty, square()), (square(), empty)):
        one = mask_agreement(predicted, truth)
        assert (one.dsc, one.iou, one.nsd, one.hd95) == (0, 0, 0, None)


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

    agreement = mask_agreement(predicted, truth, tolerance=tolerance, spacing=spacing)

    near = np.count_nonzero(there <= tolerance) + np.count_nonzero(back <= tolerance)
    assert agreement.nsd == pytest.approx(near / (len(there) + len(back)))
    assert agreement.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)))


@pytest.mark.parametrize(("spacing", "nsd", "hd95"), [(None, 0.3340471, 53.248440), ((0.8, 1.3), 0.3147752, 55.679783)])
def test_boundary_agreement_equals_what_monai_computes(spacing, nsd, hd95):
    """The figures are those of `compute_surface_dice` and `compute_hausdorff_distance` of MONAI 1.6.1."""
    predicted, truth = disc(30, centre=(60, 66)) | disc(9, centre=(120, 4)), disc(33) ^ disc(12)
    agreement = mask_agreement(predicted, truth, tolerance=2, spacing=spacing)
    assert agreement.nsd == pytest.approx(nsd, abs=1e-6)
    assert agreement.hd95 == pytest.approx(hd95, rel=1e-5)


def test_summary_leaves_out_what_has_no_value():
    values = {"dsc": np.array([0.2, 0.4, 0.9]), "hd95": np.array([3.0, np.nan, 5.0])}

    summary = summarise(values)

    assert summary["dsc"]["mean"] == pytest.approx(0.5)
    assert summary["dsc"]["sd"] == pytest.approx(np.std([0.2, 0.4, 0.9], ddof=1))
    assert summary["dsc"]["median"] == 0.4
    assert (summary["hd95"]["n"], summary["hd95"]["mean"]) == (2, 4)


def test_what_cannot_be_computed_is_null_in_strict_json():
    summary = summarise({"dsc": np.array([0.5]), "hd95": np.array([np.nan])})

    assert summary["dsc"] == {"n": 1, "mean": 0.5, "sd": None, "median": 0.5, "interval": [0.5, 0.5]}
    assert summary["hd95"] == {"n": 0, "mean": None, "sd": None, "median": None, "interval": None}
    json.dumps(summary, allow_nan=False)
    assert list(METRICS) == ["dsc", "iou", "nsd", "hd95"]


def test_interval_is_that_of_the_mean_and_repeats():
    values = np.random.default_rng(7).normal(0.8, 0.1, size=400)

    low, high = bootstrap_interval(values, draws=2000)

    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.1 * half)
    assert bootstrap_interval(values, draws=2000) == [low, high]
    assert bootstrap_interval(values, draws=2000, seed=1) != [low, high]


def test_interval_does_not_depend_on_how_many_sets_are_drawn_at_once(monkeypatch):
    values = np.random.default_rng(3).random(50)
    at_once = bootstrap_interval(values, draws=101)
    monkeypatch.setattr("cxr_ray.metrics.segmentation.DRAWN_AT_ONCE", 7 * 50)

    assert bootstrap_interval(values, draws=101) == at_once


DSC = {"n": 5, "mean": 0.8, "sd": 0.15, "median": 0.9, "interval": [0.25, 0.75]}
NOTHING = {"n": 0, "mean": None, "sd": None, "median": None, "interval": None}
FIGURES = {"dsc": DSC, "iou": DSC | {"mean": 0.6}, "nsd": DSC | {"mean": 0.7}, "hd95": NOTHING}
ALL_IS_WELL = {"tolerance": 1.5, "tolerance_unit": "mm", "per_class": {}, "uncertainty": None, "comparison": []} | {
    f"n_{name}": 0 for name in ("both_empty", "one_empty", "failures", "truth_unreadable", "skipped", "without_truth")
}
ALL_IS_WELL |= FIGURES | {"n_judged": 5, "n_images": 5, "missing_first": []}


def test_a_report_without_failures_is_the_table_and_one_line():
    assert report_text(ALL_IS_WELL) == (
        "                          n     mean       sd   median   95 % interval of the mean\n"
        "DSC                       5    0.800    0.150    0.900   0.250 to 0.750\n"
        "IoU                       5    0.600    0.150    0.900   0.250 to 0.750\n"
        "NSD at 1.5 mm             5    0.700    0.150    0.900   0.250 to 0.750\n"
        "HD95 (mm)                 0        -        -        -   -\n"
        "\n"
        "Images judged: 5 of 5 (two empty masks: 0, one empty mask: 0)\n"
    )


def test_a_report_lists_classes_segmenters_and_every_reason_to_exclude_an_image():
    figures = {"n": 5, "spearman": 0.5, "risk_at_coverage": [[0.8, 0.1], [1.0, 0.2]]}
    counts = {"both_empty": 1, "one_empty": 2, "judged": 5, "images": 1234, "failures": 3, "errors": 2, "missing": 4}
    counts |= {"truth_unreadable": 6, "skipped": 7, "without_truth": 8}
    report = report_text(
        ALL_IS_WELL
        | {f"n_{name}": count for name, count in counts.items()}
        | {
            "per_class": {"COVID": FIGURES | {"n_judged": 3, "n_failures": 1}},
            "uncertainty": figures | {"aurc": 0.1, "aurc_random": 0.2, "aurc_ideal": 0.05},
            "comparison": [
                FIGURES | {"n_images": 4, "model_id": "dynunet-1", "predictions_uri": "s3://a"},
                FIGURES | {"n_images": 4, "model_id": "", "predictions_uri": "s3://b"},
            ],
            "dsc_failures_as_zero": 0.4,
            "missing_first": ["a.png", "b.png"],
        }
    )
    assert report.partition("\n\n")[2] == (
        "class                     n   failed      DSC      IoU      NSD     HD95\n"
        "COVID                     3        1    0.800    0.600    0.700        -\n"
        "\n"
        "Uncertainty and error (1 - DSC) over 5 images: Spearman correlation 0.500; mean error 0.2000, "
        "of the 80% least uncertain images 0.1000; AURC 0.1000 (random order 0.2000, ideal order 0.0500)\n"
        "\n"
        "mean over 4 common images                   DSC      IoU      NSD     HD95\n"
        "dynunet-1                                 0.800    0.600    0.700        -\n"
        "s3://b                                    0.800    0.600    0.700        -\n"
        "\n"
        "Images judged: 5 of 1,234 (two empty masks: 1, one empty mask: 2)\n"
        "Images failed: 3 (with an error: 2, without a row: 4); with their DSC as 0, the mean DSC is 0.400\n"
        "First images without a row: a.png, b.png\n"
        "Images excluded because their true mask cannot be read: 6\n"
        "Images excluded because the cascade's rule skipped them: 7\n"
        "Images excluded because they have no true mask: 8\n"
    )
