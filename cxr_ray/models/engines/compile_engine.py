"""torch.compile ahead of time (AOTInductor): machine code of fused operators, kept on disk, for CPUs and GPUs."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch._inductor import aoti_compile_and_package, aoti_load_package

from cxr_ray.archive.uris import one_line
from cxr_ray.errors import EngineError
from cxr_ray.models.engines.converted_model import converted_model, reference_of
from cxr_ray.models.engines.device_parts import DeviceParts
from cxr_ray.models.engines.engine import ComputedPrecision, ForwardPass
from cxr_ray.models.precision import Precision, autocast, chosen_precision, hardware_name

if TYPE_CHECKING:
    from torch import nn

CODE = "model.pt2"
SETTINGS: dict[str, dict[str, Any]] = {
    "cpu": {"freezing": True},  # weights become constants, packed once
    "cuda": {"freezing": True, "max_autotune": True},  # each operator runs in the form that was measured to be fastest
}
"""Settings of torch's compiler by device."""


class CompileEngine:
    """A model compiled by torch for one device; an `Engine`.

    Compilation takes minutes and a C++ compiler, once per node, model and precision; loading takes a second.

    Args:
        forward: the model.
        device: `cpu`, `cuda` or `cuda:N`.
        precision: precision of the forward pass; `auto` takes the native one, see `native_precision`.
        threads: number of torch threads of the process on a CPU; None leaves it as it is.

    Raises:
        EngineError: if the model cannot be compiled.
        BundleError: if the model's bundle is missing or damaged.
    """

    name = "compile"

    def __init__(self, forward: ForwardPass, *, device: str, precision: Precision, threads: int | None) -> None:
        if threads and device == "cpu":
            torch.set_num_threads(threads)
        self.device = torch.device(device)
        self.precision: ComputedPrecision = chosen_precision(self.device, precision)
        folder = converted_model(
            forward,
            partial(_compile, self.device, self.precision),
            depends_on=[self.name, torch.__version__, _hardware(self.device), self.precision],
        )
        self.reference = reference_of(folder)
        compiled = aoti_load_package(str(folder / CODE), device_index=self.device.index or -1)
        self._in_parts = DeviceParts(compiled, self.device)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute float32 [N, ...] for uint8 [N, S, S]."""
        with torch.inference_mode():
            return self._in_parts(pixels)


def _compile(
    device: torch.device, precision: ComputedPrecision, network: "nn.Module", example: torch.Tensor, folder: Path
) -> None:
    """Compile a network for any number of images of the size of `example`."""
    network, images = network.to(device), torch.export.Dim("images", min=1, max=4096)
    try:
        with torch.no_grad(), autocast(device, precision):
            program = torch.export.export(network, (example.to(device),), dynamic_shapes=({0: images},))
            aoti_compile_and_package(program, package_path=str(folder / CODE), inductor_configs=SETTINGS[device.type])
    except RuntimeError as error:  # torch's exporter, compiler and C++ compiler raise subclasses of it
        raise EngineError(f"torch cannot compile the network: {one_line(error)}") from error


def _hardware(device: torch.device) -> str:
    """What machine code is made for: the GPU, or the instructions of the CPU."""
    return hardware_name(str(device)) if device.type == "cuda" else str(sorted(torch.cpu.get_capabilities().items()))
