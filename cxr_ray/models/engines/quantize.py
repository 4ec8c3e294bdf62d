"""Make an int8 network of a model: NNCF quantises the graph into which OpenVINO converts its network."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from cxr_ray.errors import EngineError
from cxr_ray.models.engines import nncf_process
from cxr_ray.models.engines.agreement import check_pixels
from cxr_ray.models.engines.engine import ForwardPass
from cxr_ray.models.engines.inert_graph import inert_graph
from cxr_ray.models.engines.int8_network import GRAPH, Int8Network
from cxr_ray.models.engines.nncf_process import FLOAT_GRAPH, IMAGES, INT8_GRAPH
from cxr_ray.models.engines.openvino_engine import compiled_graph, graph_of, import_openvino


def require_quantizer() -> None:
    """Check that the libraries that quantise are installed.

    Raises:
        EngineError: if OpenVINO or NNCF is not.
    """
    import_openvino()
    if find_spec("nncf") is None:
        raise EngineError("NNCF is not installed; install it with the extra int8: pip install 'cxr_ray[int8]'")


def quantize(forward: ForwardPass, images: np.ndarray) -> Int8Network:
    """Make the int8 network of a model by post-training quantisation (Jacob et al. 2018, arXiv:1712.05877; NNCF).

    Args:
        forward: the model.
        images: uint8 [N, S, S], radiographs like those that the network will see; N >= 1, a few hundred are usual.

    Raises:
        EngineError: if OpenVINO cannot convert the network, or NNCF cannot quantise it.
        BundleError: if the model's bundle is missing or damaged, or the network has an operation that `inert_graph`
            does not know.
    """
    import torch

    openvino = import_openvino()
    pixels = check_pixels(forward.image_size)
    with tempfile.TemporaryDirectory(prefix="cxr_ray_int8_") as name:
        folder = Path(name)
        graph = graph_of(openvino, forward.build(), torch.from_numpy(pixels))
        openvino.save_model(graph, folder / FLOAT_GRAPH, compress_to_fp16=False)
        np.save(folder / IMAGES, images)
        _run_nncf(folder)
        xml, constants = (folder / INT8_GRAPH).read_bytes(), (folder / INT8_GRAPH).with_suffix(".bin").read_bytes()
        checked = inert_graph(forward.name, xml, constants_bytes=len(constants), image_size=forward.image_size)
        network = Int8Network(graph=checked, constants=constants, reference=np.empty(0, np.float32))
        return replace(network, reference=int8_program(network, folder)(pixels))


def int8_program(network: Int8Network, folder: Path) -> Callable[[np.ndarray], np.ndarray]:
    """Compile an int8 network for all cores of this CPU: a function from uint8 [N, S, S] to float32 [N, C].

    Args:
        network: the network.
        folder: an existing folder in which its files lie as long as the function is used.

    Raises:
        EngineError: if OpenVINO is not installed, or cannot compute the network.
    """
    network.write(folder)
    compiled = compiled_graph(import_openvino(), folder / GRAPH, precision="auto", threads=None)
    return lambda pixels: np.asarray(compiled(pixels)[0])


def _run_nncf(folder: Path) -> None:
    command = [sys.executable, "-P", nncf_process.__file__, str(folder)]  # -P: this folder holds no modules of theirs
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  this interpreter
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or [f"it ended with code {ended.returncode}"])[-1]
        raise EngineError(f"NNCF cannot quantise the network: {last}")
