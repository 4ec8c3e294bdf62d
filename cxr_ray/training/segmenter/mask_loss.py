"""The loss of a segmenter: Dice and cross-entropy, at every level that has an output."""

import torch
from monai.losses import DiceLoss
from torch.nn import functional


class DiceCrossEntropy:
    """Dice loss plus binary cross-entropy, image by image, over an output and those of deep supervision.

    The outputs have the weights 1, 1/2, 1/4 ... as in nnU-Net, divided by their sum; all have full resolution already. The
    target of a pixel that the mask's outline crosses is the fraction of the pixel that the mask covers, so that outlines
    are finer than pixels. The Dice loss is the semimetric whose minimum is where the probability equals that fraction
    (Wang et al., arXiv 2303.16296).
    """

    def __init__(self) -> None:
        self._dice = DiceLoss(sigmoid=True, reduction="none", smooth_nr=1.0, smooth_dr=1.0, soft_label=True)

    def __call__(self, logits: torch.Tensor, truth: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
        """Mean loss over the images, a scalar tensor.

        Args:
            logits: float [N, 1, S, S], or [N, L, 1, S, S] with L outputs.
            truth: float32 [N, 1, S, S], fraction of each pixel that the mask covers, 0-1.
            weights: float [N], by which the losses of the images are multiplied; None multiplies by 1.
        """
        outputs = (logits if logits.ndim == 5 else logits.unsqueeze(1)).float().unbind(1)
        levels = [0.5**level for level in range(len(outputs))]
        by_output = torch.stack([level * self._of(one, truth) for level, one in zip(levels, outputs, strict=True)])
        losses = by_output.sum(0) / sum(levels)
        return losses.mean() if weights is None else (losses * weights).mean()

    def _of(self, logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        """Loss of one output for each image, float32 [N]."""
        crossed = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none").mean((1, 2, 3))
        dice: torch.Tensor = self._dice(logits, truth).flatten(1).mean(1)
        return crossed + dice
