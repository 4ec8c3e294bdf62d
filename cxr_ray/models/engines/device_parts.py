"""A forward pass in parts that fit the memory of a device, the next one copied to it while one is computed."""

import logging
from collections.abc import Callable, Iterator

import numpy as np
import torch

log = logging.getLogger("cxr_ray")

MOST_IMAGES = 128
"""Number of images of a part on a GPU. It fills the GPU, and a larger batch is copied while its first part is computed."""


class DeviceParts:
    """Calls a network for a batch in parts, of which one that does not fit the memory of the device is halved.

    On a GPU pixels go through pinned memory and a stream of their own, and outputs are waited for once, at the end.

    Args:
        network: computes float [n, ...] for uint8 [n, S, S] on `device`.
        device: device of the network.
    """

    def __init__(self, network: Callable[[torch.Tensor], torch.Tensor], device: torch.device) -> None:
        self._network, self._device = network, device
        self._most: int | None = MOST_IMAGES if device.type == "cuda" else None
        self._copies = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute float32 [N, ...] for uint8 [N, S, S], N at least 1.

        Raises:
            torch.OutOfMemoryError: if a single image does not fit the memory of the device.
        """
        while True:
            rows = min(self._most or len(pixels), len(pixels))
            try:
                return np.concatenate([part.numpy() for part in self._outputs(pixels, rows)])
            except torch.OutOfMemoryError:
                if rows == 1:
                    raise
                self._most = (rows + 1) // 2
            log.warning("%d images do not fit the memory of %s; going on with %d", rows, self._device, self._most)
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _outputs(self, pixels: np.ndarray, rows: int) -> list[torch.Tensor]:
        if self._copies is None:
            return [self._network(part.to(self._device)).float().cpu() for part in _parts(pixels, rows)]
        outputs = []
        for part in _parts(pixels, rows):
            with torch.cuda.stream(self._copies):
                images = part.pin_memory().to(self._device, non_blocking=True)
            now = torch.cuda.current_stream(self._device)
            now.wait_stream(self._copies)
            images.record_stream(now)
            output = self._network(images).float()
            outputs.append(torch.empty(output.shape, pin_memory=True).copy_(output, non_blocking=True))
        torch.cuda.current_stream(self._device).synchronize()
        return outputs


def _parts(pixels: np.ndarray, rows: int) -> Iterator[torch.Tensor]:
    for start in range(0, len(pixels), rows):
        yield torch.from_numpy(pixels[start : start + rows])
