"""Metrics of segmentations: the agreement of two masks, and its summary over many images.

Masks are bool [H, W], True inside. Two empty masks agree fully: DSC, IoU and NSD are 1 and HD95 is 0. If only one
mask is empty, DSC, IoU and NSD are 0 and HD95 has no value: None for one image, NaN in an array.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.classification import INTERVAL_PERCENT, RESAMPLES
from cxr_ray.metrics.risk_coverage import uncertainty_line

METRICS = {"dsc": "DSC", "iou": "IoU", "nsd": "NSD", "hd95": "HD95"}
DEFAULT_TOLERANCE = 2.0  # pixels
DRAWN_AT_ONCE = 2**22  # maximum count of bootstrap values in memory at one time

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskAgreement:
    """How well a predicted mask agrees with the true one."""

    dsc: float
    """Dice similarity coefficient, 2 |A and B| / (|A| + |B|), in [0, 1]."""
    iou: float
    """Intersection over union (Jaccard), in [0, 1]."""
    nsd: float
    """Normalised surface Dice: fraction of both boundaries within the tolerance of the other boundary, in [0, 1]."""
    hd95: float | None
    """95th percentile of the distance between the boundaries, the larger of both directions, in pixels or mm; None if only
    one mask is empty."""
    predicted_area: int
    """Number of pixels inside the predicted mask."""
    true_area: int
    """Number of pixels inside the true mask."""


def mask_agreement(
    predicted: Mask,
    truth: Mask,
    *,
    tolerance: float = DEFAULT_TOLERANCE,
    spacing: tuple[float, float] | None = None,
) -> MaskAgreement:
    """Compute the overlap and the boundary agreement of two masks.

    NSD is the surface Dice at a tolerance of Nikolov et al. (arXiv:1809.04430), in two dimensions, computed from
    counts of boundary pixels. HD95 is the larger of the two directed percentiles (Maier-Hein et al., Metrics Reloaded,
    2024). They equal MONAI's `compute_surface_dice` and `compute_hausdorff_distance`, at a fraction of the cost.

    Args:
        predicted: bool [H, W].
        truth: bool [H, W].
        tolerance: maximum distance of a boundary pixel that agrees, >= 0, in mm if `spacing` is given, else in pixels.
        spacing: mm from row to row and from column to column; None for distances in pixels.

    Raises:
        ValueError: if the masks are not bool [H, W] of one shape.
    """
    if predicted.dtype != bool or truth.dtype != bool or predicted.ndim != 2 or predicted.shape != truth.shape:
        received = " and ".join(f"{mask.dtype} {list(mask.shape)}" for mask in (predicted, truth))
        raise ValueError(f"masks must be bool [H, W] of one shape; got {received}")
    areas = int(np.count_nonzero(predicted)), int(np.count_nonzero(truth))
    both, either = int(np.count_nonzero(predicted & truth)), sum(areas)
    if not all(areas):
        nsd, hd95 = (0.0, None) if either else (1.0, 0.0)
    else:
        nsd, hd95 = _boundary_agreement(*boundary_distances(predicted, truth, spacing), tolerance)
    return MaskAgreement(
        dsc=2 * both / either if either else 1.0,
        iou=both / (either - both) if either else 1.0,
        nsd=nsd,
        hd95=hd95,
        predicted_area=areas[0],
        true_area=areas[1],
    )


def boundary_distances(a: Mask, b: Mask, spacing: tuple[float, float] | None = None) -> tuple[Floats, Floats]:
    """Compute the distance from every boundary pixel of each mask to the nearest boundary pixel of the other mask.

    Args:
        a: bool [H, W], not empty.
        b: bool [H, W], not empty, of the shape of `a`.
        spacing: mm from row to row and from column to column; None for distances in pixels.

    Returns:
        The distances from `a` to `b`, float64 [boundary pixels of a], and from `b` to `a`, float64 [boundary pixels
        of b], in mm if `spacing` is given, else in pixels.
    """
    either = a | b
    window = tuple(
        slice(used[0], used[-1] + 1) for used in map(np.flatnonzero, (either.any(axis=1), either.any(axis=0)))
    )
    scale = np.array(spacing or (1.0, 1.0), dtype=np.float64)
    points_a, points_b = (np.argwhere(boundary(mask[window])) * scale for mask in (a, b))
    return _to_nearest(points_a, points_b), _to_nearest(points_b, points_a)


def boundary(mask: Mask) -> Mask:
    """Find the boundary pixels of a mask, bool [H, W]: those that have one of their four neighbours outside the mask.

    Every pixel beyond the frame of the image counts as outside.
    """
    padded = np.pad(mask, 1)
    surrounded = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return mask & ~surrounded


def _to_nearest(points: Floats, others: Floats) -> Floats:
    """Compute the distance, float64 [N], from each of `points` [N, 2] to the nearest of `others` [M, 2].

    A k-d tree of the boundary pixels takes a twentieth of the time of a distance transform of the image. Leaving the
    tree unbalanced and uncompacted saves more time at its construction than the queries lose.
    """
    from scipy.spatial import KDTree

    tree = KDTree(others, leafsize=32, balanced_tree=False, compact_nodes=False)
    return np.asarray(tree.query(points)[0], dtype=np.float64)


def _boundary_agreement(there: Floats, back: Floats, tolerance: float) -> tuple[float, float]:
    near = np.concatenate([there, back]) <= tolerance
    return float(near.mean()), float(max(np.percentile(there, 95), np.percentile(back, 95)))


def summarise(
    values: Mapping[str, Floats], *, draws: int = RESAMPLES, seed: int = 0
) -> dict[str, dict[str, float | int | list[float] | None]]:
    """Compute the mean, sample standard deviation, median and 95 % bootstrap interval of the mean for each metric.

    Args:
        values: float64 [N], N >= 0, for each metric; NaN where an image has no value, so that `n` excludes the image.
        draws: number of bootstrap resamples, >= 1.
        seed: seed of the bootstrap.

    Returns:
        For each metric `n, mean, sd, median, interval`, ready for strict JSON; a value that cannot be computed is None.
    """
    summaries: dict[str, dict[str, float | int | list[float] | None]] = {}
    for metric, all_values in values.items():
        known = all_values[np.isfinite(all_values)]
        summaries[metric] = {
            "n": len(known),
            "mean": float(known.mean()) if len(known) else None,
            "sd": float(known.std(ddof=1)) if len(known) > 1 else None,
            "median": float(np.median(known)) if len(known) else None,
            "interval": bootstrap_interval(known, draws=draws, seed=seed) if len(known) else None,
        }
    return summaries


def bootstrap_interval(values: Floats, *, draws: int = RESAMPLES, seed: int = 0) -> list[float]:
    """Compute the 95 % bootstrap percentile interval of the mean.

    Args:
        values: float64 [N], N >= 1, all finite.
        draws: number of bootstrap resamples, each of N values drawn with replacement, >= 1.
        seed: seed of the random generator; the same values and seed always give the same interval.

    Returns:
        The interval, a list [low, high].
    """
    generator = np.random.default_rng(seed)
    sets = max(1, DRAWN_AT_ONCE // len(values))
    means = [
        values[generator.integers(len(values), size=(min(sets, draws - done), len(values)))].mean(axis=1)
        for done in range(0, draws, sets)
    ]
    return [float(bound) for bound in np.percentile(np.concatenate(means), INTERVAL_PERCENT)]


def report_text(metrics: Mapping[str, Any]) -> str:
    """Write the content of metrics.json as plain text: a table of all images, a table of classes, and counts of images."""
    unit = metrics["tolerance_unit"]
    names = METRICS | {"nsd": f"NSD at {metrics['tolerance']:g} {unit}", "hd95": f"HD95 ({unit})"}
    lines = [f"{'':<18}{'n':>9}{'mean':>9}{'sd':>9}{'median':>9}   95 % interval of the mean"]
    for metric, name in names.items():
        row = metrics[metric]
        figures = "".join(f"{_figure(row[key]):>9}" for key in ("mean", "sd", "median"))
        lines.append(f"{name:<18}{row['n']:>9,}{figures}   {' to '.join(map(_figure, row['interval'] or [None]))}")
    if metrics["per_class"]:
        lines += ["", f"{'class':<18}{'n':>9}{'failed':>9}" + "".join(f"{name:>9}" for name in METRICS.values())]
    for label, row in metrics["per_class"].items():
        figures = "".join(f"{_figure(row[metric]['mean']):>9}" for metric in METRICS)
        lines.append(f"{label:<18}{row['n_judged']:>9,}{row['n_failures']:>9,}{figures}")
    if metrics["uncertainty"]:
        lines += ["", uncertainty_line(metrics["uncertainty"])]
    if metrics["comparison"]:
        lines += ["", *_comparison(metrics["comparison"])]
    return "\n".join([*lines, "", *_count_lines(metrics)]) + "\n"


def _comparison(segmenters: list[dict[str, Any]]) -> list[str]:
    """Write a table with one line for each segmenter."""
    title = f"mean over {segmenters[0]['n_images']:,} common images"
    lines = [f"{title:<38}" + "".join(f"{name:>9}" for name in METRICS.values())]
    for one in segmenters:
        figures = "".join(f"{_figure(one[metric]['mean']):>9}" for metric in METRICS)
        lines.append(f"{one['model_id'] or one['predictions_uri']:<38}{figures}")
    return lines


def _count_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Write how many images the metrics include, and how many they exclude for each reason."""
    empty = f"two empty masks: {metrics['n_both_empty']:,}, one empty mask: {metrics['n_one_empty']:,}"
    lines = [f"Images judged: {metrics['n_judged']:,} of {metrics['n_images']:,} ({empty})"]
    if metrics["n_failures"]:
        kinds = f"with an error: {metrics['n_errors']:,}, without a row: {metrics['n_missing']:,}"
        with_them = _figure(metrics["dsc_failures_as_zero"])
        lines.append(
            f"Images failed: {metrics['n_failures']:,} ({kinds}); with their DSC as 0, the mean DSC is {with_them}"
        )
    if metrics["missing_first"]:
        lines.append("First images without a row: " + ", ".join(metrics["missing_first"]))
    if metrics["n_truth_unreadable"]:
        lines.append(f"Images excluded because their true mask cannot be read: {metrics['n_truth_unreadable']:,}")
    if metrics["n_skipped"]:
        lines.append(f"Images excluded because the cascade's rule skipped them: {metrics['n_skipped']:,}")
    if metrics["n_without_truth"]:
        lines.append(f"Images excluded because they have no true mask: {metrics['n_without_truth']:,}")
    return lines


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
