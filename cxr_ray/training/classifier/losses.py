"""Losses of classifiers: the cross-entropy of one class of an image, and the masked binary cross-entropy of several findings."""

from collections.abc import Callable

import torch
from torch.nn import functional

Loss = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, float], torch.Tensor]
"""Function of logits float [B, K], targets float [B, K], weights and label smoothing that returns the mean loss."""


def cross_entropy(logits: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Mean over images of the class-weighted cross-entropy.

    Args:
        logits: float [B, K].
        truth: class probabilities, float [B, K].
        weights: weight of the loss of an image of each class, float [K].
        smoothing: fraction of the target that is spread over all classes.
    """
    smoothed = truth * (1 - smoothing) + smoothing / truth.shape[1]
    losses = -(smoothed * logits.float().log_softmax(1)).sum(1)
    return (losses * (truth @ weights)).mean()


def masked_binary_cross_entropy(
    logits: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor, smoothing: float
) -> torch.Tensor:
    """Mean over the known labels of the weighted binary cross-entropy; labels that are not known have no gradient.

    Args:
        logits: float [B, K].
        truth: probability that each finding is present, float [B, K], NaN where nothing is known.
        weights: weight of the loss of an absent and of a present label, float [2, K].
        smoothing: fraction of the target that is spread over presence and absence.

    Returns:
        The mean; 0, still connected to the logits, if no label of the batch is known.
    """
    known = ~truth.isnan()
    target = torch.where(known, truth, 0)
    smoothed = target * (1 - smoothing) + smoothing / 2
    losses = functional.binary_cross_entropy_with_logits(logits.float(), smoothed, reduction="none")
    weighted = losses * (weights[0] * (1 - target) + weights[1] * target) * known
    return weighted.sum() / known.sum().clamp(min=1)
