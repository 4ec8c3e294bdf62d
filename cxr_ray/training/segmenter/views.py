"""Training inputs of a segmenter: augmented and standardised images, and masks that move with their images."""

from collections.abc import Iterator
from dataclasses import fields

import torch

from cxr_ray.models.segmenter_ensemble import standardised
from cxr_ray.training.augmentation import Augmentation
from cxr_ray.training.batch import Batch
from cxr_ray.training.segmenter.learner import MaskTargets
from cxr_ray.training.segmenter.task import SegmenterTask


class MaskedViews:
    """Makes the inputs and targets of training steps of a segmenter; a mask moves in the same way as its image.

    Args:
        task: task with the limits of the augmentation and the weight of each mask.
        device: device of the network.
        generator: generator of the random views, on the CPU.
    """

    def __init__(self, task: SegmenterTask, device: torch.device, generator: torch.Generator) -> None:
        config = task.config
        self._weights, self._device, self._generator = task.weights, device, generator
        names = [field.name for field in fields(Augmentation)]
        self._augmentation = Augmentation(**{name: getattr(config, name) for name in names})

    def __call__(self, batches: Iterator[Batch]) -> Iterator[tuple[torch.Tensor, MaskTargets]]:
        """Yield inputs float32 [B, 1, S, S] and targets, both on the device, for planes uint8 [B, 2, S, S] (image, mask)."""
        for batch in batches:
            planes = torch.as_tensor(batch.pixels).to(self._device, non_blocking=True).float()
            moved = self._augmentation.moved(planes, self._generator)
            toned = self._augmentation.toned(moved[:, :1], self._generator)
            grey = self._augmentation.erased(toned, self._generator)
            weights = torch.from_numpy(self._weights[batch.positions]).float().to(self._device)
            targets = MaskTargets(masks=moved[:, 1:] / 255, weights=weights)
            yield standardised(grey), targets
