"""Precision of a forward pass, and which one a device computes fastest without emulation."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "bf16", "fp16", "fp32"]

CPU_BF16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")
"""Capabilities of `torch.cpu.get_capabilities()` that mean native bf16, on x86 and on ARM."""


def autocast(device: "torch.device", precision: Precision) -> AbstractContextManager[object]:
    """Context of mixed precision on `device`; for fp32 the context does nothing."""
    import torch

    chosen = chosen_precision(device, precision)
    if chosen == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype={"bf16": torch.bfloat16, "fp16": torch.float16}[chosen])


def chosen_precision(device: "torch.device", precision: Precision) -> Literal["bf16", "fp16", "fp32"]:
    """Resolve `precision` on `device`: `auto` becomes the native precision, any other stays."""
    return native_precision(device) if precision == "auto" else precision


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


def native_precision(device: "torch.device") -> Literal["bf16", "fp32"]:
    """bf16 where the device has instructions for it, else fp32.

    A device without such instructions emulates bf16: on a Zen 3 CPU, a training step took ten times as long as in fp32.
    """
    import torch

    if device.type == "cuda":
        with torch.cuda.device(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name) for name in CPU_BF16_FEATURES)
    return "bf16" if native else "fp32"
