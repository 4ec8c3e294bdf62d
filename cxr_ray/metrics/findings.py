"""Metrics of a classifier of several findings: each is judged on its own, over the images of which it is known.

In every function, `truth` is float64 [N, K]: 1 present, 0 absent, NaN not known; `called` is bool [N, K], and
`probabilities` is float64 [N, K] in [0, 1].
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.class_intervals import area_intervals, as_json, class_intervals
from cxr_ray.metrics.classification import MIN_PROBABILITY, per_class_metrics
from cxr_ray.metrics.intervals import Interval, mean_interval, mean_of_intervals

Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

FIGURES = ("recall", "specificity", "precision", "npv", "f1", "auroc", "auprc")
MACRO = {"macro_auroc": "auroc", "macro_auprc": "auprc", "macro_f1": "f1", "macro_recall": "recall"}
"""Means over findings by the figure that they are of."""


def finding_metrics(
    truth: Floats,
    called: Flags,
    probabilities: Floats,
    labels: Sequence[str],
    groups: Indices,
    *,
    resamples: int,
    seed: int = 0,
) -> dict[str, Any]:
    """Compute all metrics of one evaluation with their 95 % confidence intervals by patient, ready for strict JSON.

    Args:
        truth: float64 [N, K], NaN where a finding is not known.
        called: bool [N, K], which findings the model calls present.
        probabilities: float64 [N, K].
        labels: names of the K findings.
        groups: int64 [N], number of the patient of each image.
        resamples: number of bootstrap resamples, where an interval needs them.
        seed: seed of the bootstrap.

    Returns:
        `per_class`, what `one_finding` returns by label, and the means over findings of `MACRO` with `intervals` and
        `interval_methods`. An interval of a mean holds for any dependence between the findings.
    """
    per_class = {
        label: one_finding(truth[:, k], called[:, k], probabilities[:, k], groups, resamples=resamples, seed=seed)
        for k, label in enumerate(labels)
    }
    means: dict[str, float | None] = {}
    intervals: dict[str, Interval | None] = {}
    for name, figure in MACRO.items():
        known = [row for row in per_class.values() if row[figure] is not None]
        values = [row[figure] for row in known]
        bounds = [
            Interval(low, high, row["interval_methods"][figure])
            for row in known
            for low, high in [row["intervals"][figure]]
        ]
        means[name] = float(np.mean(values)) if values else None
        intervals[name] = mean_of_intervals(values, bounds, independent=False) if values else None
    return {
        **means,
        **as_json(intervals),
        "n_patients": len(np.unique(groups)),
        "bootstrap_resamples": resamples,
        "bootstrap_seed": seed,
        "labels": list(labels),
        "per_class": per_class,
    }


def one_finding(
    truth: Floats, called: Flags, probability: Floats, groups: Indices, *, resamples: int, seed: int = 0
) -> dict[str, Any]:
    """Compute the metrics of one finding over the images of which it is known.

    Args:
        truth: float64 [N], 1, 0 or NaN.
        called: bool [N].
        probability: float64 [N].
        groups: int64 [N], number of the patient of each image.
        resamples: number of bootstrap resamples.
        seed: seed of the bootstrap.

    Returns:
        `n_known`, `n_not_known`, `support` (images with the finding) and `prevalence` among the known; the figures of `FIGURES`, with
        `intervals` and `interval_methods`; `brier`, the mean squared distance of the probability from 0 or 1, `log_loss` in nats, and
        `mean_probability`, which equals the prevalence if the calibration is right on the whole. A figure that does not exist is None.
    """
    known = ~np.isnan(truth)
    result: dict[str, Any] = {"n_known": int(known.sum()), "n_not_known": int((~known).sum())}
    if not known.any():
        names = (*FIGURES, "prevalence", "brier", "log_loss", "mean_probability")
        nothing = dict.fromkeys((*FIGURES, "brier", "log_loss"))
        return result | dict.fromkeys(names) | {"support": 0} | as_json(nothing)
    positive, score, patients = truth[known] == 1, probability[known], groups[known]
    classes, calls = positive.astype(np.int64), called[known].astype(np.int64)
    both = np.stack([1 - score, score], axis=1)
    row = per_class_metrics(classes, calls, both, ("absent", "present"))["present"]
    areas, _ = area_intervals(
        classes, both, [{"auroc": None, "auprc": None}, row], patients, resamples=resamples, seed=seed
    )
    of_truth = np.maximum(np.where(positive, score, 1 - score), MIN_PROBABILITY)
    squares, logs = (score - positive) ** 2, -np.log(of_truth)
    losses = {"brier": mean_interval(squares, patients), "log_loss": mean_interval(logs, patients)}
    return (
        result
        | row
        | {
            "brier": float(squares.mean()),
            "log_loss": float(logs.mean()),
            "mean_probability": float(score.mean()),
        }
        | as_json(class_intervals(classes, calls, 2, patients)[1] | areas[1] | losses)
    )


def findings_text(metrics: dict[str, Any]) -> str:
    """Write the metrics of each finding as plain text."""
    columns = {"recall": "sens.", "specificity": "spec.", "precision": "PPV", "npv": "NPV", "f1": "F1"}
    columns |= {"auroc": "AUROC", "auprc": "AUPRC"}
    width = max(len(label) for label in (*metrics["labels"], "finding", "mean over findings"))
    lines = [f"{'finding':<{width}}{'known':>9}{'present':>9}" + "".join(f"{name:>8}" for name in columns.values())]
    for label, row in metrics["per_class"].items():
        figures = "".join(f"{_figure(row[name]):>8}" for name in columns)
        lines.append(f"{label:<{width}}{row['n_known']:>9,}{row['support']:>9,}{figures}")
    of_figure = {figure: name for name, figure in MACRO.items()}
    means = "".join(f"{_figure(metrics[of_figure[n]]) if n in of_figure else '':>8}" for n in columns)
    return "\n".join([*lines, f"{'mean over findings':<{width}}{'':>18}{means}"]) + "\n"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
