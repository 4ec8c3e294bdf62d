"""Networks from uint8 pixels to probabilities or features: what prepares the pixels and reads the outputs is part of them."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.segmenter_ensemble import SegmenterCard, standardised
from cxr_ray.models.task import task_of


class PixelNetwork(nn.Module):
    """A network and the normalisation of its inputs.

    Args:
        network: normalised float32 [N, 3, S, S] -> logits or features [N, C].
        card: mean and deviation of the normalisation.
        memory_format: memory format in which the network is fastest.
    """

    def __init__(self, network: nn.Module, card: ModelCard, memory_format: torch.memory_format) -> None:
        super().__init__()
        self.network = network.to(memory_format=memory_format)
        self._memory_format = memory_format
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) * 255 for values in (card.mean, card.std))
        self._mean, self._std = nn.Buffer(mean, persistent=False), nn.Buffer(std, persistent=False)

    def inputs(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalise uint8 [N, S, S] to float32 [N, 3, S, S]."""
        inputs = (pixels.unsqueeze(1).float() - self._mean) / self._std
        return inputs.contiguous(memory_format=self._memory_format)


class PixelClassifier(PixelNetwork):
    """A classification network, its normalisation and its calibration: uint8 [N, S, S] -> probabilities float32 [N, C].

    Args:
        network: normalised float32 [N, 3, S, S] -> logits [N, C].
        card: mean and deviation of the normalisation, the task, and the temperatures of the calibration.
        memory_format: memory format in which the network is fastest.
    """

    def __init__(self, network: nn.Module, card: ModelCard, memory_format: torch.memory_format) -> None:
        super().__init__(network, card, memory_format)
        self._task = task_of(card)
        given = self._task.temperature
        self._temperature: torch.Tensor | float = (
            nn.Buffer(torch.tensor(given), persistent=False) if isinstance(given, tuple) else given
        )

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute calibrated probabilities float32 [N, C] of uint8 [N, S, S]."""
        return self._task.probabilities(self.network(self.inputs(pixels)).float() / self._temperature)


class PixelEncoder(PixelNetwork):
    """A network, its normalisation and a layer of it: uint8 [N, S, S] -> features float32 [N, D].

    Args:
        network: network of timm.
        card: mean and deviation of the normalisation.
        memory_format: memory format in which the network is fastest.
        features: computes features [N, D] by `network`, from normalised float32 [N, 3, S, S].
    """

    def __init__(
        self,
        network: nn.Module,
        card: ModelCard,
        memory_format: torch.memory_format,
        features: Callable[[torch.Tensor], torch.Tensor],
    ) -> None:
        super().__init__(network, card, memory_format)
        self._features = features

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute features float32 [N, D] of uint8 [N, S, S]."""
        return self._features(self.inputs(pixels)).float()


class PixelSegmenter(nn.Module):
    """An ensemble of segmentation networks over the views of its card: uint8 [N, S, S] -> probabilities float32 [N, S, S].

    Args:
        members: networks of `build_segmenter_network`.
        card: says at which scale the networks also see the mirror image.
    """

    def __init__(self, members: Sequence[nn.Module], card: SegmenterCard) -> None:
        super().__init__()
        self.members, self._mirrored = nn.ModuleList(members), card.mirrored

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Compute the mean foreground probability float32 [N, S, S] over networks and views of uint8 [N, S, S]."""
        grey = pixels.unsqueeze(1).float()
        total = self._sum_over_members(standardised(grey))
        if size := self._mirrored:
            mirrored = self._sum_over_members(standardised(zoomed(grey.flip(3), size)))
            total = (total + zoomed(mirrored, 1 / size).flip(3)) / 2
        return (total / len(self.members)).squeeze(1)

    def _sum_over_members(self, inputs: torch.Tensor) -> torch.Tensor:
        """Sum of the networks' probabilities, float32 [N, 1, S, S]; only one network's are in memory at a time."""
        total = torch.zeros_like(inputs)
        for member in self.members:
            total = total + member(inputs).float().sigmoid()
        return total


def zoomed(planes: torch.Tensor, size: float) -> torch.Tensor:
    """Scale planes float [N, C, H, W] about their centre by a factor of `size`, at the same shape; a margin is 0."""
    if size == 1:
        return planes
    y, x = (((2 * torch.arange(n, device=planes.device) + 1) / n - 1) / size for n in planes.shape[2:])
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    grid = torch.stack([columns, rows], dim=2).expand(planes.shape[0], -1, -1, -1)
    return functional.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
