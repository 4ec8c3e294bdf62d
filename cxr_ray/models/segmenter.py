"""Segmenters that turn uint8 radiographs into foreground probabilities and lung masks; Ray is not used."""

from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.errors import ImageError
from cxr_ray.imaging.radiograph import Radiograph
from cxr_ray.models.bundle import load_weights, read_card
from cxr_ray.models.lung_segmentation import LungSegmentation, segmentations_of
from cxr_ray.models.precision import Precision, autocast, chosen_precision
from cxr_ray.models.segmenter_ensemble import SegmenterCard, load_members, standardised, suited_to_cpu
from cxr_ray.schema import NOT_FINITE

if TYPE_CHECKING:
    import torch


class Segmenter:
    """A segmenter, which is an ensemble of networks, on one device; `segment` and `predict` are a stable interface.

    Args:
        uri: URI of the segmenter's bundle, which train_segmenter writes.
        device: `cpu`, `cuda` or `cuda:N`; None takes a GPU if there is one, else the CPU.
        precision: precision of the forward pass; `auto` takes bf16 where the device has instructions for it, else
            fp32. fp32 is the reference.

    Raises:
        BundleError: if the bundle is missing or altered, or its weights do not fit its architecture.
    """

    def __init__(self, uri: str, *, device: str | None = None, precision: Precision = "auto") -> None:
        import torch

        self.card = read_card(uri, SegmenterCard)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.precision = chosen_precision(self.device, precision)
        members = load_members(uri, self.card, load_weights(uri, self.card))
        if self.device.type == "cpu":
            members = [suited_to_cpu(member) for member in members]
        self.members = [member.to(self.device) for member in members]

    def segment(
        self, image: Radiograph, *, foreground: float = 0.5, components: int = 2, min_area: float = 0.005
    ) -> LungSegmentation:
        """Segment the lungs of one radiograph, with the numbers that `segment_archive` writes for this file and options.

        Args:
            image: a radiograph of `load_image`.
            foreground: probability above which a pixel belongs to the mask, between 0 and 1.
            components: maximum number of connected components that are kept, 1 to 255, the largest by area.
            min_area: fraction of the image that a component must cover, 0 to 1.

        Raises:
            ImageError: if the model gives NaN or infinity for this image.
            ValueError: if an option is out of its range.
        """
        if not 0 < foreground < 1:
            raise ValueError(f"foreground must be above 0 and below 1; got {foreground}")
        probability = self.predict(image.squashed(self.card.image_size, self.card.interpolation)[None])
        size = [(image.height, image.width)]
        (found,) = segmentations_of(probability, size, foreground=foreground, components=components, min_area=min_area)
        if found is None:
            raise ImageError(image.name, NOT_FINITE["error_kind"], NOT_FINITE["error"])
        return found

    def predict(self, pixels: np.ndarray) -> "torch.Tensor":
        """Mean foreground probability over the networks and the views of the card, float32 [N, S, S] on the device.

        Args:
            pixels: uint8 [N, S, S], whole images squashed to a square, where S is `image_size` of the card.
        """
        import torch

        with torch.inference_mode():
            grey = torch.from_numpy(pixels).to(self.device, non_blocking=True).unsqueeze(1).float()
            total = self._sum_over_members(standardised(grey))
            if size := self.card.mirrored:
                mirrored = self._sum_over_members(standardised(zoomed(grey.flip(3), size)))
                total = (total + zoomed(mirrored, 1 / size).flip(3)) / 2
            return (total / len(self.members)).squeeze(1)

    def _sum_over_members(self, inputs: "torch.Tensor") -> "torch.Tensor":
        """Sum of the networks' probabilities, float32 [N, 1, S, S]; only one network's are in memory at a time."""
        import torch

        total = torch.zeros_like(inputs)
        for member in self.members:
            with autocast(self.device, self.precision):
                logits = member(inputs)
            total += logits.float().sigmoid()
        return total


def zoomed(planes: "torch.Tensor", size: float) -> "torch.Tensor":
    """Scale planes float [N, C, H, W] about their centre by a factor of `size`, at the same shape; a margin is 0."""
    import torch
    from torch.nn import functional

    if size == 1:
        return planes
    theta = torch.tensor([[1 / size, 0, 0], [0, 1 / size, 0]], device=planes.device).expand(len(planes), 2, 3)
    grid = functional.affine_grid(theta, list(planes.shape), align_corners=False)
    return functional.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
