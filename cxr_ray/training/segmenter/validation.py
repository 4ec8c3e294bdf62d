"""Metrics of a segmenter over the whole validation split; each worker segments one shard of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from cxr_ray.models.segmenter_ensemble import standardised
from cxr_ray.training.batch import Batch
from cxr_ray.training.epochs import AutocastFactory
from cxr_ray.training.segmenter.mask_loss import DiceCrossEntropy
from cxr_ray.training.shards import positions_of


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentedShard:
    """Losses and Dice coefficients of one worker's shard of the validation split."""

    positions: np.ndarray
    """int64 [n], positions of the images within the split."""
    losses: np.ndarray
    """float64 [n], loss of each image."""
    dsc: np.ndarray
    """float64 [n], Dice coefficient of each image at training resolution; 1 if both masks are empty."""


@torch.inference_mode()
def segment_shard(
    network: nn.Module, batches: Iterable[Batch], *, device: torch.device, autocast: AutocastFactory
) -> SegmentedShard:
    """Segment this worker's shard of the validation split.

    Args:
        network: segmenter that maps standardised images float [B, 1, S, S] to logits float [B, 1, S, S].
        batches: batches of planes uint8 [B, 2, S, S] (image, then mask) that hold each image of the shard once.
        device: device of the network.
        autocast: function that returns the mixed-precision context of the forward pass.
    """
    network.eval()
    criterion = DiceCrossEntropy()
    positions, losses, dsc = [np.empty(0, np.int64)], [], []
    for batch in batches:
        planes = torch.from_numpy(batch.pixels).to(device)
        truth = planes[:, 1:].float() / 255
        with autocast():
            logits = network(standardised(planes[:, :1])).float()
        losses += [float(criterion(one[None], mask[None])) for one, mask in zip(logits, truth, strict=True)]
        dsc += dice_coefficients(logits > 0, truth > 0.5).tolist()
        positions.append(batch.positions)
    return SegmentedShard(positions=np.concatenate(positions), losses=np.array(losses), dsc=np.array(dsc))


def dice_coefficients(predicted: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Compute the Dice coefficient of each of N pairs of masks bool [N, ...], float64 [N]; 1 if both masks are empty."""
    common, sizes = (predicted & truth).flatten(1).sum(1), predicted.flatten(1).sum(1) + truth.flatten(1).sum(1)
    return torch.where(sizes > 0, 2 * common.double() / sizes.clamp(min=1), 1.0)


def mask_metrics(shards: Sequence[SegmentedShard], count: int) -> dict[str, float]:
    """Compute the means `val_loss` and `val_dsc` over all shards; they do not depend on the number of workers.

    Args:
        shards: segmented shards of all workers.
        count: number of images in the split.

    Raises:
        ValueError: if the shards together do not hold every image of the split exactly once.
    """
    order = np.argsort(positions_of(shards, count))
    losses, dsc = (np.concatenate([getattr(shard, name) for shard in shards])[order] for name in ("losses", "dsc"))
    return {"val_loss": float(losses.mean()), "val_dsc": float(dsc.mean())}
