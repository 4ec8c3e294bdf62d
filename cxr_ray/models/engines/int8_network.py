"""Int8 networks: graphs of OpenVINO that a bundle holds as tensors beside the weights from which they were made."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.models.bundle import INT8_PREFIX

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
        """Write the graph and its constants into a folder, where OpenVINO finds them."""
        (folder / GRAPH).write_bytes(self.graph)
        (folder / CONSTANTS).write_bytes(self.constants)
