"""Figures over a whole validation split whose images several workers segmented in parts."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cxr_ray.models.student import standardised
from cxr_ray.training.batch import Batch
from cxr_ray.training.epochs import AutocastFactory
from cxr_ray.training.segmenter.mask_loss import DiceCrossEntropy
from cxr_ray.training.worker_context import WorkerContext


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskShare:
    """What one worker segmented."""

    positions: np.ndarray
    """int64 [n], within the split."""
    losses: np.ndarray
    """float64 [n]."""
    dsc: np.ndarray
    """float64 [n], Dice coefficient at the resolution of the training; 1 where both masks are empty."""


@torch.inference_mode()
def segment_share(
    network: nn.Module, batches: Iterable[Batch], *, context: WorkerContext, autocast: AutocastFactory
) -> MaskShare:
    """Segment this worker's share of the split, each image once.

    Args:
        network: a student.
        batches: of planes uint8 [B, 2, S, S], image and mask.
        context: of the worker.
        autocast: mixed precision around the forward pass.
    """
    network.eval()
    criterion = DiceCrossEntropy()
    positions, losses, dsc = [np.empty(0, np.int64)], [], []
    for batch in batches:
        planes = torch.from_numpy(batch.pixels).to(context.device)
        truth = planes[:, 1:].float() / 255
        with autocast():
            logits = network(standardised(planes[:, :1])).float()
        losses += [float(criterion(one[None], mask[None])) for one, mask in zip(logits, truth, strict=True)]
        dsc += dice_coefficients(logits > 0, truth > 0.5).tolist()
        positions.append(batch.positions)
    return MaskShare(positions=np.concatenate(positions), losses=np.array(losses), dsc=np.array(dsc))


def dice_coefficients(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Of each pair of masks bool [N, ...], float64 [N]; 1 where both are empty."""
    both, sizes = (predicted & truth).flatten(1).sum(1), predicted.flatten(1).sum(1) + truth.flatten(1).sum(1)
    return torch.where(sizes > 0, 2 * both.double() / sizes.clamp(min=1), 1.0)


def mask_metrics(shares: Sequence[MaskShare], count: int) -> dict[str, float]:
    """Means over all shares together, which do not depend on the number of workers: `val_loss`, `val_dsc`.

    Args:
        shares: every image of the split once.
        count: images of the split.

    Raises:
        ValueError: if the shares are not every image of the split once.
    """
    positions = np.concatenate([share.positions for share in shares])
    order = np.argsort(positions)
    if not np.array_equal(positions[order], np.arange(count)):
        raise ValueError(f"{len(positions)} images were validated, the split has {count}")
    losses, dsc = (np.concatenate([getattr(share, name) for share in shares])[order] for name in ("losses", "dsc"))
    return {"val_loss": float(losses.mean()), "val_dsc": float(dsc.mean())}
