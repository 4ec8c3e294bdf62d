"""OpenVINO on CPUs: graphs of fused operators, in bf16 where the CPU has instructions for it, or in int8."""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_ray.archive.uris import one_line
from cxr_ray.errors import EngineError
from cxr_ray.models.engines.converted_model import REFERENCE, converted_model, kept_folder, reference_of
from cxr_ray.models.engines.engine import ComputedPrecision, FloatPrecision, ForwardPass
from cxr_ray.models.engines.int8_network import GRAPH, Int8Network
from cxr_ray.models.precision import Precision

if TYPE_CHECKING:
    import torch
    from torch import nn

TYPES: dict[str, FloatPrecision] = {"bf16": "bf16", "f16": "fp16", "f32": "fp32"}
"""Precision by the name of OpenVINO's type."""
CAPABILITIES = {"bf16": "BF16", "fp16": "FP16", "fp32": "FP32", "int8": "INT8"}


class OpenVinoEngine:
    """A model in OpenVINO on the CPU; an `Engine`.

    Args:
        forward: the model.
        device: `cpu`.
        precision: precision of the forward pass; `auto` takes the model's int8 network if it has one, else the precision
            that OpenVINO prefers on this CPU.
        threads: number of threads; None takes all cores.

    Raises:
        EngineError: if OpenVINO is not installed, cannot convert the model, or has not the precision on this CPU.
        BundleError: if the model's bundle is missing or damaged.
    """

    name = "openvino"

    def __init__(self, forward: ForwardPass, *, device: str, precision: Precision, threads: int | None) -> None:
        if device != "cpu":
            raise EngineError(f"OpenVINO computes on CPUs alone; got the device {device}")
        openvino = import_openvino()
        int8 = forward.int8 if precision == "auto" else None
        _require_capability(openvino, "int8" if int8 else precision)
        folder = _kept_int8(forward, int8) if int8 else _kept_conversion(openvino, forward)
        self.reference = reference_of(folder)
        self.compared_with = "its int8 network where that was made" if int8 else "torch"
        self._compiled = compiled_graph(openvino, folder / GRAPH, precision=precision, threads=threads)
        chosen = TYPES[self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string()]
        self.precision: ComputedPrecision = "int8" if int8 else chosen

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


def import_openvino() -> Any:
    """Import OpenVINO, and keep it from telling its makers that it is used: hospitals allow no such connection.

    Raises:
        EngineError: if OpenVINO is not installed.
    """
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


def graph_of(openvino: Any, network: "nn.Module", example: "torch.Tensor") -> Any:
    """Convert a network into OpenVINO's graph, for any number of images of the size of `example`, uint8 [N, S, S].

    Batch norms become part of the convolutions before them.

    Raises:
        EngineError: if OpenVINO cannot convert the network.
    """
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
    return graph


def compiled_graph(openvino: Any, path: Path, *, precision: Precision, threads: int | None) -> Any:
    """Compile the graph in a file for this CPU; called with uint8 [N, S, S], it returns a list of one output.

    Args:
        openvino: the module.
        path: XML of the graph, with its constants beside it.
        precision: floating-point precision of what is not int8; `auto` takes the one that OpenVINO prefers.
        threads: number of threads; None takes all cores.

    Raises:
        EngineError: if this version of OpenVINO cannot read or compile the graph.
    """
    core = openvino.Core()
    settings: dict[str, Any] = {
        "INFERENCE_NUM_THREADS": threads or 0,
        "NUM_STREAMS": 1,
        "ENABLE_CPU_PINNING": False,  # every process of the node would pin its threads to the same first cores
    }
    if precision != "auto":
        settings["INFERENCE_PRECISION_HINT"] = {ours: name for name, ours in TYPES.items()}[precision]
    try:
        return core.compile_model(core.read_model(path), "CPU", settings)
    except RuntimeError as error:
        raise EngineError(f"OpenVINO {openvino.__version__} cannot compute the graph: {one_line(error)}") from error


def _require_capability(openvino: Any, precision: Precision | ComputedPrecision) -> None:
    if precision == "auto":
        return
    if CAPABILITIES[precision] not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        advice = "name another precision" if precision == "int8" else "ask for precision auto"
        raise EngineError(f"OpenVINO has no {precision} on this CPU; {advice}")


def _kept_conversion(openvino: Any, forward: ForwardPass) -> Path:
    """Folder of the node's cache with the graph converted from the model's network, and torch's outputs."""
    depends_on = [OpenVinoEngine.name, openvino.__version__, version("torch")]
    return converted_model(forward, partial(_convert, openvino), depends_on=depends_on)


def _convert(openvino: Any, network: "nn.Module", example: "torch.Tensor", folder: Path) -> None:
    openvino.save_model(graph_of(openvino, network, example), folder / GRAPH, compress_to_fp16=False)


def _kept_int8(forward: ForwardPass, load: Callable[[], Int8Network]) -> Path:
    """Folder of the node's cache with the int8 network of a model, which was checked when it was loaded."""

    def write(folder: Path) -> None:
        network = load()
        network.write(folder)
        np.save(folder / REFERENCE, network.reference)

    return kept_folder(write, depends_on=[forward.identity, OpenVinoEngine.name, "int8"])
