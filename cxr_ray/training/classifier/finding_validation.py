"""Metrics, calibration and thresholds of a classifier of findings over the whole validation split."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_ray.metrics.calibration import fit_temperature
from cxr_ray.metrics.classification import MIN_PROBABILITY, auroc
from cxr_ray.metrics.operating_points import choose_thresholds
from cxr_ray.training.classifier.validation import ScoredShard, Validation
from cxr_ray.training.shards import positions_of


def finding_validation(shards: list[ScoredShard], targets: np.ndarray, labels: tuple[str, ...]) -> Validation:
    """Compute the metrics of the known labels over all shards together, without weights or smoothing.

    Args:
        shards: scored shards of all workers.
        targets: float32 [N, K] of all images of the split: 1 present, 0 absent, NaN not known; each label has both.
        labels: names of the K findings, in the order of the logits.

    Returns:
        `val_loss`, the mean binary cross-entropy; `val_auroc` and `val_macro_f1`, means over findings; `val_accuracy`, the fraction of
        known labels that are called rightly; and `val_auroc_FINDING`, `val_recall_FINDING` and `val_specificity_FINDING`. Calls are made at
        the thresholds of Youden's index.

    Raises:
        ValueError: if the shards together do not hold every image of the split exactly once.
    """
    positions = positions_of(shards, len(targets))
    logits = np.concatenate([shard.logits for shard in shards if len(shard.logits)])
    found = [_of_finding(logits[:, k], targets[positions, k]) for k in range(len(labels))]
    counts = np.array([one["known"] for one in found])
    metrics = {
        "val_loss": float(np.average([one["loss"] for one in found], weights=counts)),
        "val_accuracy": float(np.average([one["accuracy"] for one in found], weights=counts)),
        "val_macro_f1": float(np.mean([one["f1"] for one in found])),
        "val_auroc": float(np.mean([one["auroc"] for one in found])),
    }
    for label, one in zip(labels, found, strict=True):
        metrics |= {f"val_{name}_{label}": one[name] for name in ("auroc", "recall", "specificity")}
    return Validation(
        metrics=metrics,
        confusion=None,
        mistakes=[],
        card={
            "temperatures": tuple(one["temperature"] for one in found),
            "thresholds": tuple(one["threshold"] for one in found),
        },
    )


def _of_finding(logits: NDArray[np.float32], targets: NDArray[np.float32]) -> dict[str, Any]:
    """Metrics, temperature and threshold of one finding, from its logits [N] and targets [N]."""
    known = ~np.isnan(targets)
    scores, positive = logits[known], targets[known] == 1
    temperature = fit_temperature(np.stack([np.zeros_like(scores), scores], axis=1), positive.astype(np.int64))
    probabilities = _sigmoid(scores)
    of_truth = np.maximum(np.where(positive, probabilities, 1 - probabilities), MIN_PROBABILITY)
    calibrated = _sigmoid(scores / temperature)
    threshold = youden_threshold(positive, calibrated)
    called = calibrated >= threshold
    hits, errors = int((called & positive).sum()), int((called != positive).sum())
    return {
        "known": len(scores),
        "loss": float(-np.log(of_truth).mean()),
        "accuracy": 1 - errors / len(scores),
        "auroc": auroc(positive, scores.astype(np.float64)),
        "recall": hits / int(positive.sum()),
        "specificity": float((~called & ~positive).sum() / (~positive).sum()),
        "f1": 2 * hits / (2 * hits + errors) if hits else 0.0,
        "temperature": temperature,
        "threshold": threshold,
    }


def youden_threshold(positive: NDArray[np.bool_], score: NDArray[np.float64]) -> float:
    """Choose the threshold with the largest sensitivity + specificity (Youden 1950), midway to the next lower score.

    Args:
        positive: bool [N], True for an image with the finding; both kinds occur.
        score: float64 [N], probability of the finding.
    """
    chosen = choose_thresholds(positive, score, sensitivity=1.0, specificity=1.0)["youden"]["threshold"]
    lower = score[score < chosen]
    return float((chosen + lower.max()) / 2) if len(lower) else float(min(chosen, 1.0))


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float64]:
    from scipy.special import expit

    return np.asarray(expit(logits.astype(np.float64)))
