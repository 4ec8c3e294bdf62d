"""What every engine offers, and what it needs to know of a model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from cxr_ray.models.precision import Precision

if TYPE_CHECKING:
    from torch import nn

    from cxr_ray.models.engines.int8_network import Int8Network

EngineName = Literal["auto", "torch", "compile", "openvino"]
FloatPrecision = Literal["bf16", "fp16", "fp32"]
ComputedPrecision = FloatPrecision | Literal["int8"]


class Engine(Protocol):
    """A forward pass on one device, called with uint8 [N, S, S] for float32 [N, ...]; N may change from call to call."""

    name: str
    """Name of the engine in outputs: `torch`, `compile` or `openvino`."""
    precision: ComputedPrecision
    """Precision in which most of the arithmetic is done."""
    compared_with: str
    """Whose outputs `reference` are, in messages."""

    def __init__(self, forward: "ForwardPass", *, device: str, precision: Precision, threads: int | None) -> None: ...

    @property
    def reference(self) -> np.ndarray:
        """Outputs float32 [8, ...] that are right for the fixed batch of `agreement.check_pixels`.

        They are those of torch in fp32; for an int8 network, its own outputs where it was made and measured.
        """

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Compute the model's output float32 [N, ...] for uint8 [N, S, S], N at least 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ForwardPass:
    """The forward pass of a model, from pixels to probabilities or features, before an engine is chosen for it."""

    name: str
    """Name of the model in messages."""
    identity: str
    """Text that changes with anything on which an output depends: weights, preprocessing, calibration."""
    image_size: int
    """Height and width S of the pixels."""
    build: "Callable[[], nn.Module]"
    """Loads the network in eval mode, fp32, on the CPU: uint8 [N, S, S] -> float32 [N, ...]."""
    outputs: Literal["probabilities", "features"] = "probabilities"
    """What the outputs are, which decides how they are compared with those of another engine."""
    int8: "Callable[[], Int8Network] | None" = None
    """Loads the model's int8 network, which computes the same outputs; None for a model that has none."""
    stray_fraction: float = 0.0
    """Fraction (0 to 1) of the probabilities that may differ from the reference by more than the tolerance."""
