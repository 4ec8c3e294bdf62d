"""What a student minimises: Dice and cross-entropy, at every level that has an output."""

import torch
from torch.nn import functional


class DiceCrossEntropy:
    """Dice loss plus binary cross-entropy, image by image, over an output and those of deep supervision.

    The outputs weigh 1, 1/2, 1/4 ... of their sum, as nnU-Net's do; all are of full resolution already. A pixel that the
    mask's rim crosses is learned as the share of it that is covered, so that outlines are finer than pixels.
    """

    def __call__(self, logits: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Mean over images, [].

        Args:
            logits: float [N, 1, S, S], or [N, L, 1, S, S] with L outputs.
            truth: float32 [N, 1, S, S], share of each pixel that the mask covers, 0-1.
            weights: float [N], by which images count; 1 each if None.
        """
        outputs = (logits if logits.ndim == 5 else logits.unsqueeze(1)).float().unbind(1)
        shares = [0.5**level for level in range(len(outputs))]
        by_output = torch.stack([share * self._of(one, truth) for share, one in zip(shares, outputs, strict=True)])
        losses = by_output.sum(0) / sum(shares)
        return losses.mean() if weights is None else (losses * weights).mean()

    def _of(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """[N]."""
        crossed = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2, 3))
        return crossed + soft_dice_loss(logits.sigmoid(), truth)


def soft_dice_loss(probabilities: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Dice semimetric of soft labels (DML1 of Wang et al., arXiv 2303.16296), float [N], 0 where both are equal.

    It is 1 - (|p + t| - |p - t| + 1) / (|p + t| + 1) with sums of absolute values over an image, of which the ones keep
    empty masks from dividing by 0; the fraction is taken from 1 here by hand. For masks of 0 and 1 this is the usual
    soft Dice loss; unlike that one it is smallest where the probability equals a covered fraction between 0 and 1.

    Args:
        probabilities: float [N, 1, S, S], 0-1.
        truth: float [N, 1, S, S], 0-1.
    """
    differing = (probabilities - truth).abs().sum((1, 2, 3))
    return differing / ((probabilities + truth).sum((1, 2, 3)) + 1)
