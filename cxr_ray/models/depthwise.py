"""Depthwise convolutions that train fast in bf16 on CPUs.

oneDNN has no fast bf16 kernels for the gradients of most depthwise convolutions: those of a layer of EfficientNet-B0
(5x5, stride 2, 672 channels) take 54 ms in bf16 but 2.4 ms in fp32 on a Zen 5 CPU. The forward pass is faster in bf16.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

FAST_IN_BF16 = ((3, 3), (1, 1))
"""Kernel size and stride for which oneDNN computes gradients fast in bf16."""


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise `Conv2d` that, under bf16 autocast on a CPU, runs forward in bf16 and computes gradients in fp32."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - the name that torch gives it
        """Convolve float [N, C, H, W] to [N, C, H', W'], in the dtype of autocast if it is on."""
        if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16:
            output: torch.Tensor = _GradientsInFp32.apply(
                input.bfloat16(), self.weight, self.stride, self.padding, self.dilation, self.groups
            )
            return output
        return super().forward(input)


class _GradientsInFp32(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, *geometry: Any) -> torch.Tensor:
        """Convolve a bf16 input with an fp32 weight; the output is bf16."""
        ctx.save_for_backward(x, weight)
        ctx.geometry = geometry
        return functional.conv2d(x, weight.to(x.dtype), None, *geometry)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Compute the gradients of the input, in bf16, and of the weight, in fp32."""
        x, weight = ctx.saved_tensors
        stride, padding, dilation, groups = ctx.geometry
        to_input, to_weight, _ = torch.ops.aten.convolution_backward(
            gradient.float(), x.float(), weight, None, stride, padding, dilation, False, (0, 0), groups,
            (ctx.needs_input_grad[0], ctx.needs_input_grad[1], False),
        )  # fmt: skip
        return (None if to_input is None else to_input.to(x.dtype)), to_weight, None, None, None, None


def replace_depthwise(model: nn.Module) -> None:
    """Replace the depthwise convolutions of `model` that have slow bf16 gradients; the parameters stay the same."""
    for name, module in list(model.named_modules()):
        if type(module) is nn.Conv2d and 1 < module.groups == module.in_channels and _is_slow(module):
            faster = DepthwiseConv2d(
                module.in_channels,
                module.out_channels,
                module.kernel_size,  # type: ignore[arg-type]
                module.stride,  # type: ignore[arg-type]
                module.padding,  # type: ignore[arg-type]
                module.dilation,  # type: ignore[arg-type]
                module.groups,
                bias=False,
                device="meta",
            )
            faster.weight = module.weight
            model.set_submodule(name, faster)


def _is_slow(module: nn.Conv2d) -> bool:
    """Whether `module`'s gradients are slow in bf16; False also if `_GradientsInFp32` cannot compute them."""
    is_plain = module.bias is None and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return is_plain and (module.kernel_size, module.stride) != FAST_IN_BF16
