"""PyTorch's eager mode, the engine that every model and device has; in fp32 it is the reference."""

import numpy as np
import torch

from cxr_ray.models.engines.agreement import check_pixels
from cxr_ray.models.engines.device_parts import DeviceParts
from cxr_ray.models.engines.engine import ComputedPrecision, ForwardPass
from cxr_ray.models.precision import Precision, autocast, chosen_precision


class TorchEngine:
    """A model in PyTorch on one device; an `Engine`.

    Args:
        forward: the model.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: precision of the forward pass; `auto` takes the native one, see `native_precision`.
        threads: number of torch threads of the process on a CPU; None leaves it as it is.
    """

    name = "torch"

    def __init__(self, forward: ForwardPass, *, device: str, precision: Precision, threads: int | None) -> None:
        if threads and device == "cpu":
            torch.set_num_threads(threads)
        self.device = torch.device(device)
        self.precision = chosen_precision(self.device, precision)
        self.network = forward.build().to(self.device)
        self._in_parts = DeviceParts(self.network, self.device)
        self._image_size = forward.image_size

    @property
    def reference(self) -> np.ndarray:
        """Outputs float32 [8, ...] in fp32 for the fixed batch."""
        return self._outputs(check_pixels(self._image_size), "fp32")

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute float32 [N, ...] for uint8 [N, S, S]."""
        return self._outputs(pixels, self.precision)

    def _outputs(self, pixels: np.ndarray, precision: ComputedPrecision) -> np.ndarray:
        with torch.inference_mode(), autocast(self.device, precision):
            return self._in_parts(pixels)
