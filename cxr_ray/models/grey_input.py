"""Radiographs as models want them; the same in training and scoring."""

from collections.abc import Sequence

import numpy as np
import torch


class GreyInput:
    """Moves uint8 pixels to the device and normalises them there, a quarter of the bytes of float32 on the way.

    Args:
        mean: per channel, in units of 0-1.
        std: likewise.
        device: where the model is.
        memory_format: that the model likes.
    """

    def __init__(
        self,
        mean: Sequence[float],
        std: Sequence[float],
        device: torch.device,
        memory_format: torch.memory_format,
    ) -> None:
        self.device, self.memory_format = device, memory_format
        self._mean = torch.tensor(mean, device=device).view(1, -1, 1, 1) * 255
        self._std = torch.tensor(std, device=device).view(1, -1, 1, 1) * 255

    def __call__(self, pixels: np.ndarray) -> torch.Tensor:
        """uint8 [N, H, W] -> float32 [N, 3, H, W], the grey plane in every channel."""
        return self.normalised(self.on_device(pixels))

    def on_device(self, pixels: np.ndarray) -> torch.Tensor:
        """uint8 [N, H, W] -> float32 [N, 1, H, W] in 0-255."""
        return torch.from_numpy(pixels).to(self.device, non_blocking=True).unsqueeze(1).float()

    def normalised(self, grey: torch.Tensor) -> torch.Tensor:
        """Float [N, 1, H, W] in 0-255 -> float32 [N, 3, H, W]."""
        return ((grey - self._mean) / self._std).contiguous(memory_format=self.memory_format)
