"""OpenVINO on CPUs: graphs of fused operators, in bf16 where the CPU has instructions for it."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_ray.errors import EngineError
from cxr_ray.models.engines.converted_model import converted_model, reference_of
from cxr_ray.models.engines.engine import ComputedPrecision, ForwardPass
from cxr_ray.models.precision import Precision

if TYPE_CHECKING:
    import torch
    from torch import nn

TYPES: dict[str, ComputedPrecision] = {"bf16": "bf16", "f16": "fp16", "f32": "fp32"}
"""Precision by the name of OpenVINO's type."""
CAPABILITIES = {"bf16": "BF16", "fp16": "FP16", "fp32": "FP32"}
GRAPH = "model.xml"


class OpenVinoEngine:
    """A model in OpenVINO on the CPU; an `Engine`.

    Args:
        forward: the model.
        device: `cpu`.
        precision: precision of the forward pass; `auto` takes the one that OpenVINO prefers on this CPU.
        threads: number of threads; None takes all cores.

    Raises:
        EngineError: if OpenVINO is not installed, cannot convert the model, or has not the precision on this CPU.
        BundleError: if the model's bundle is missing or damaged.
    """

    name = "openvino"

    def __init__(self, forward: ForwardPass, *, device: str, precision: Precision, threads: int | None) -> None:
        if device != "cpu":
            raise EngineError(f"OpenVINO computes on CPUs alone; got the device {device}")
        openvino = _import_openvino()
        folder = converted_model(
            forward, partial(_convert, openvino), depends_on=[self.name, openvino.__version__, version("torch")]
        )
        self.reference = reference_of(folder)
        core = openvino.Core()
        if precision != "auto" and CAPABILITIES[precision] not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise EngineError(f"OpenVINO has no {precision} on this CPU; ask for precision auto")
        settings: dict[str, Any] = {
            "INFERENCE_NUM_THREADS": threads or 0,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # every process of the node would pin its threads to the same first cores
        }
        if precision != "auto":
            settings["INFERENCE_PRECISION_HINT"] = {ours: name for name, ours in TYPES.items()}[precision]
        self._compiled = core.compile_model(core.read_model(folder / GRAPH), "CPU", settings)
        self.precision = TYPES[self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute float32 [N, ...] for uint8 [N, S, S], as part of a batch of `filled_count` images."""
        count = len(pixels)
        if missing := filled_count(count) - count:
            pixels = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), pixels.dtype)])
        return np.asarray(self._compiled(pixels)[0])[:count]


def filled_count(count: int) -> int:
    """The next 2^k or 3 * 2^k from `count` (1 or more) on, to which a batch is filled with black images.

    OpenVINO compiles for each number of images that it meets, and keeps what it has compiled: 5 MiB for EfficientNet-B0,
    so that the last batches of blocks, of 1 to 31 images, would take 150 MiB over a night.
    """
    power = 1 << (count - 1).bit_length()
    return power * 3 // 4 if count <= power * 3 // 4 else power


def _import_openvino() -> Any:
    """Import OpenVINO, and keep it from telling its makers that it is used: hospitals allow no such connection."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type] # its import fails, as if not installed
    try:
        return import_module("openvino")
    except ImportError as error:
        raise EngineError("OpenVINO is not installed; install the package openvino") from error


@contextmanager
def _kept_log() -> Iterator[None]:
    """Keep the level and the handlers of the root log, which OpenVINO changes, and leaves so if it cannot convert a network."""
    root = logging.getLogger()
    level, handlers = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers


def _convert(openvino: Any, network: "nn.Module", example: "torch.Tensor", folder: Path) -> None:
    """Write a network as OpenVINO's graph, for any number of images of the size of `example`."""
    import torch

    failures = openvino.frontend.OpConversionFailure, openvino.frontend.NotImplementedFailure, RuntimeError
    with warnings.catch_warnings(), torch.no_grad(), _kept_log():
        warnings.simplefilter("ignore", FutureWarning)  # the successor of torch.jit takes ten times as long
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sizes in pixels become constants, as intended
        try:
            traced = torch.jit.trace(network, example, check_trace=False)
            graph = openvino.convert_model(traced)
        except failures as error:
            summary = " ".join(str(error).rpartition("Summary:")[2].split())
            raise EngineError(f"OpenVINO cannot convert the network: {summary}") from error
    graph.reshape([-1, *example.shape[1:]])
    openvino.save_model(graph, folder / GRAPH, compress_to_fp16=False)
