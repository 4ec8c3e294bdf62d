"""Normalisation of grey radiographs for models, the same in training and scoring."""

from collections.abc import Sequence

import numpy as np
import torch


class GreyInput:
    """Function that moves uint8 pixels to a device and normalises them there; float32 would move four times the bytes.

    Args:
        mean: mean of each channel, for pixels in 0 to 1.
        std: standard deviation of each channel, for pixels in 0 to 1.
        device: device of the model.
        memory_format: memory format in which the model is fastest.
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

    def __call__(self, pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Normalise uint8 [N, H, W] to float32 [N, 3, H, W], the grey plane in every channel."""
        return self.normalised(self.on_device(pixels))

    def on_device(self, pixels: np.ndarray | torch.Tensor) -> torch.Tensor:
        """Move uint8 [N, H, W] to the device as float32 [N, 1, H, W] in 0 to 255."""
        return torch.as_tensor(pixels).to(self.device, non_blocking=True).unsqueeze(1).float()

    def normalised(self, grey: torch.Tensor) -> torch.Tensor:
        """Normalise float [N, 1, H, W] in 0 to 255 to float32 [N, 3, H, W]."""
        return ((grey - self._mean) / self._std).contiguous(memory_format=self.memory_format)
