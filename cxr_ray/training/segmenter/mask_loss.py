"""The loss of a segmenter: the sum of Dice loss and cross-entropy, over all outputs of deep supervision."""

import torch
from torch.nn import functional


class DiceCrossEntropy:
    """Dice loss plus binary cross-entropy of each image, averaged over the outputs of deep supervision.

    The outputs have the weights 1, 1/2, 1/4 ... as in nnU-Net, divided by their sum; all outputs have full resolution. The
    target of a pixel on the mask's outline is the fraction of the pixel that the mask covers, so that the network learns
    outlines more finely than whole pixels.
    """

    def __call__(self, logits: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Compute the mean loss over the images, a scalar tensor.

        Args:
            logits: float [N, 1, S, S], or float [N, L, 1, S, S] for L outputs, the main output first.
            truth: float32 [N, 1, S, S], fraction of each pixel that the mask covers, 0-1.
            weights: float [N], factors of the losses of the images; None means 1 for each.
        """
        outputs = (logits if logits.ndim == 5 else logits.unsqueeze(1)).float().unbind(1)
        levels = [0.5**level for level in range(len(outputs))]
        by_output = torch.stack([level * self._loss(one, truth) for level, one in zip(levels, outputs, strict=True)])
        losses = by_output.sum(0) / sum(levels)
        return losses.mean() if weights is None else (losses * weights).mean()

    def _loss(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Loss of one output for each image, float32 [N]."""
        cross_entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2, 3))
        return cross_entropy + soft_dice_loss(logits.sigmoid(), truth)


def soft_dice_loss(probabilities: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Dice loss of each image, float [N]: the semimetric DML1 of Wang et al. (arXiv 2303.16296), 0 where both are equal.

    The loss is 1 - (|p + t| - |p - t| + 1) / (|p + t| + 1), which equals |p - t| / (|p + t| + 1); |.| is the sum of absolute
    values over an image, and the 1 prevents a division by 0 for two empty masks. If `truth` is 0 or 1 everywhere, this is
    the usual soft Dice loss. Unlike that loss, it has its minimum where probabilities equal `truth`, even if `truth` lies
    between 0 and 1.

    Args:
        probabilities: float [N, 1, S, S], 0-1.
        truth: float [N, 1, S, S], fraction of each pixel that the mask covers, 0-1.
    """
    differing = (probabilities - truth).abs().sum((1, 2, 3))
    return differing / ((probabilities + truth).sum((1, 2, 3)) + 1)
