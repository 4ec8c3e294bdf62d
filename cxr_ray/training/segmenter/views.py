"""Images and their masks as the segmenter learns them: augmented alike, standardised."""

from collections.abc import Iterator
from dataclasses import fields

import torch

from cxr_ray.models.segmenter_ensemble import standardised
from cxr_ray.training.augmentation import Augmentation
from cxr_ray.training.batch import Batch
from cxr_ray.training.segmenter.learner import MaskTargets
from cxr_ray.training.segmenter.task import SegmenterTask


class MaskedViews:
    """Makes inputs and targets of training steps: views of images, and of their masks moved alike.

    Args:
        task: names the limits of the augmentation and the weight of each mask.
        device: device of the network.
        generator: draws the views; on the CPU.
    """

    def __init__(self, task: SegmenterTask, device: torch.device, generator: torch.Generator) -> None:
        config = task.config
        self._weights, self._device, self._generator = task.weights, device, generator
        names = [field.name for field in fields(Augmentation)]
        self._augmentation = Augmentation(**{name: getattr(config, name) for name in names})

    def __call__(self, batches: Iterator[Batch]) -> Iterator[tuple[torch.Tensor, MaskTargets]]:
        """Inputs float32 [B, 1, S, S] and targets, on the device, of batches of planes uint8 [B, 2, S, S]."""
        for batch in batches:
            planes = torch.from_numpy(batch.pixels).to(self._device, non_blocking=True).float()
            moved = self._augmentation.moved(planes, self._generator)
            toned = self._augmentation.toned(moved[:, :1], self._generator)
            grey = self._augmentation.erased(toned, self._generator)
            weights = torch.from_numpy(self._weights[batch.positions]).float().to(self._device)
            targets = MaskTargets(masks=moved[:, 1:] / 255, weights=weights)
            yield standardised(grey), targets
