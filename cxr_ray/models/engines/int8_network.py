"""Int8 networks: graphs of OpenVINO that a bundle holds as tensors beside the weights from which they were made."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.models.bundle import INT8_PREFIX, ModelCard, load_int8
from cxr_ray.models.engines.agreement import CHECK_IMAGES
from cxr_ray.models.engines.converted_model import REFERENCE
from cxr_ray.models.engines.inert_graph import inert_graph, refused

if TYPE_CHECKING:
    import torch

GRAPH, CONSTANTS = "model.xml", "model.bin"
"""Names under which OpenVINO finds the two parts of a graph."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Int8Network:
    """A network whose convolutions and matrix products compute in int8, from pixels to probabilities.

    Attributes:
        graph: its graph in OpenVINO's XML, as `inert_graph` writes it: uint8 [N, S, S] -> float32 [N, C].
        constants: the constants of the graph, one behind the other.
        reference: its outputs for `check_pixels`, float32 [8, C], where it was made and measured.
    """

    graph: bytes = field(repr=False)
    constants: bytes = field(repr=False)
    reference: np.ndarray = field(repr=False)

    def tensors(self) -> "dict[str, torch.Tensor]":
        """Tensors of the network for the weights file of a bundle."""
        import torch

        parts = {"graph": np.frombuffer(self.graph, np.uint8), "constants": np.frombuffer(self.constants, np.uint8)}
        arrays = parts | {"reference": self.reference}
        return {f"{INT8_PREFIX}{name}": torch.from_numpy(array.copy()) for name, array in arrays.items()}

    def write(self, folder: Path) -> None:
        """Write the parts into a folder in which OpenVINO finds the graph."""
        (folder / GRAPH).write_bytes(self.graph)
        (folder / CONSTANTS).write_bytes(self.constants)
        np.save(folder / REFERENCE, self.reference)


def load_int8_network(uri: str, card: ModelCard) -> Int8Network:
    """Load the int8 network of the classifier in the bundle at `uri`, whose card is `card`; torch is not needed.

    Raises:
        BundleError: if the bundle is missing or altered, has no int8 network, or has one that `inert_graph` refuses.
    """
    arrays = load_int8(uri, card)
    if missing := {"graph", "constants", "reference"} - arrays.keys():
        raise refused(uri, f"the bundle has no tensor {INT8_PREFIX}{min(missing)}")
    graph, constants, reference = arrays["graph"], arrays["constants"], arrays["reference"]
    outputs = (CHECK_IMAGES, len(card.labels))
    if [array.dtype.name for array in (graph, constants, reference)] != ["uint8", "uint8", "float32"]:
        raise refused(uri, "its tensors are of other types than uint8, uint8 and float32")
    if reference.shape != outputs:
        raise refused(uri, f"its reference has the shape {list(reference.shape)}, not {list(outputs)}")
    return Int8Network(
        graph=inert_graph(uri, graph.tobytes(), constants_bytes=constants.nbytes, image_size=card.image_size),
        constants=constants.tobytes(),
        reference=reference,
    )
