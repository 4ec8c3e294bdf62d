"""The arithmetic of a forward pass: which precision a device computes fastest without emulating it."""

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "bf16", "fp16", "fp32"]

CPU_BF16_FEATURES = ("avx512_bf16", "amx_bf16", "bf16")
"""Names of torch.cpu.get_capabilities(), on x86 and on ARM."""


def autocast(device: "torch.device", precision: Precision) -> AbstractContextManager[object]:
    """Mixed precision on `device`, or nothing for fp32."""
    import torch

    chosen = chosen_precision(device, precision)
    if chosen == "fp32":
        return nullcontext()
    return torch.autocast(device.type, dtype={"bf16": torch.bfloat16, "fp16": torch.float16}[chosen])


def chosen_precision(device: "torch.device", precision: Precision) -> Literal["bf16", "fp16", "fp32"]:
    """What `precision` means on `device`."""
    return native_precision(device) if precision == "auto" else precision


def native_precision(device: "torch.device") -> Literal["bf16", "fp32"]:
    """bf16 where the device has instructions for it, else fp32.

    Where it has none bf16 is emulated: on a Zen 3 CPU, a training step took ten times as long as in fp32.
    """
    import torch

    if device.type == "cuda":
        with torch.cuda.device(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capabilities = torch.cpu.get_capabilities()
        native = any(capabilities.get(name) for name in CPU_BF16_FEATURES)
    return "bf16" if native else "fp32"
