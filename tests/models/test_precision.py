"""Autocast uses the precision named, and auto takes the one that a device computes natively."""

import pytest
import torch

from cxr_ray.models.precision import CPU_BF16_FEATURES, autocast, native_precision

CPU = torch.device("cpu")


def product(precision):
    with autocast(CPU, precision):
        return torch.ones(2, 2) @ torch.ones(2, 2)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16), ("fp32", torch.float32)]
)
def test_autocast_computes_in_the_precision_named(precision, dtype):
    assert product(precision).dtype == dtype


def test_auto_takes_bf16_only_where_the_cpu_has_instructions_for_it():
    has_bf16 = any(torch.cpu.get_capabilities().get(name) for name in CPU_BF16_FEATURES)
    assert native_precision(CPU) == ("bf16" if has_bf16 else "fp32")
    assert product("auto").dtype == (torch.bfloat16 if has_bf16 else torch.float32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_takes_bf16_on_an_ampere_gpu_or_later():
    capability, _ = torch.cuda.get_device_capability()
    assert native_precision(torch.device("cuda")) == ("bf16" if capability >= 8 else "fp32")
