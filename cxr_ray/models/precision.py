"""Precision of a forward pass, and which one a device computes fastest without emulation."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "bf16", "fp16", "fp32"]

CPU_BF16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")
"""Capabilities of `torch.cpu.get_capabilities()` that mean native bf16, on x86 and on ARM."""


def autocast(device: "torch.device", precision: Precision) -> AbstractContextManager[object]:
    """Context of mixed precision on `device`; for fp32 a GPU computes no product in TF32, as it otherwise may."""
    import torch

    chosen = chosen_precision(device, precision)
    if chosen == "fp32":
        return _without_tf32() if device.type == "cuda" else nullcontext()
    return torch.autocast(device.type, dtype={"bf16": torch.bfloat16, "fp16": torch.float16}[chosen])


@contextmanager
def _without_tf32() -> Iterator[None]:
    """Compute fp32 products and convolutions of CUDA in fp32, whose 23 bits of mantissa TF32 cuts to 10."""
    from torch.backends import cuda, cudnn

    parts: tuple[Any, ...] = (cuda.matmul, cudnn.conv)  # type: ignore[attr-defined]
    before = [part.fp32_precision for part in parts]
    try:
        for part in parts:
            part.fp32_precision = "ieee"
        yield
    finally:
        for part, value in zip(parts, before, strict=True):
            part.fp32_precision = value


def chosen_precision(device: "torch.device", precision: Precision) -> Literal["bf16", "fp16", "fp32"]:
    """Resolve `precision` on `device`: `auto` becomes the native precision, any other stays."""
    return native_precision(device) if precision == "auto" else precision


def precision_of_gradients(device: "torch.device", precision: Precision) -> Literal["bf16", "fp16", "fp32"]:
    """Resolve `precision` as `chosen_precision` does, but `auto` never to fp16, below whose range gradients fall."""
    chosen = chosen_precision(device, precision)
    return "fp32" if precision == "auto" and chosen == "fp16" else chosen


def default_device() -> str:
    """`cuda` if there is a GPU that torch can use, else `cpu`."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def hardware_name(device: str) -> str:
    """Name of the hardware of `device`: that of the GPU, such as `NVIDIA H100 80GB HBM3`, or `cpu`."""
    if device == "cpu":
        return device
    import torch

    return str(torch.cuda.get_device_name(device))


def native_precision(device: "torch.device") -> Literal["bf16", "fp16", "fp32"]:
    """bf16 where the device has instructions for it, fp16 on older GPUs, else fp32.

    A device without such instructions emulates bf16: on a Zen 3 CPU, a training step took ten times as long as in fp32.
    """
    import torch

    if device.type == "cuda":
        with torch.cuda.device(device):
            return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    capabilities = torch.cpu.get_capabilities()
    return "bf16" if any(capabilities.get(name) for name in CPU_BF16_FEATURES) else "fp32"
