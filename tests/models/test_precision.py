"""Autocast uses the precision named, and auto takes the one that a device computes natively."""

from contextlib import nullcontext

import pytest
import torch

from cxr_ray.models.precision import CPU_BF16_FEATURES, autocast, native_precision, precision_of_gradients

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


def test_fp32_of_a_gpu_is_not_tf32_and_what_was_set_comes_back():
    parts = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = [part.fp32_precision for part in parts]
    with autocast(torch.device("cuda"), "fp32"):
        assert [part.fp32_precision for part in parts] == ["ieee", "ieee"]
    assert [part.fp32_precision for part in parts] == before


def test_gradients_are_never_computed_in_fp16_unless_it_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    gpu = torch.device("cuda")
    assert native_precision(gpu) == "fp16"
    assert [precision_of_gradients(gpu, name) for name in ("auto", "fp16", "bf16")] == ["fp32", "fp16", "bf16"]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_auto_takes_bf16_on_an_ampere_gpu_or_later():
    capability, _ = torch.cuda.get_device_capability()
    assert native_precision(torch.device("cuda")) == ("bf16" if capability >= 8 else "fp16")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_fp32_of_a_gpu_has_all_its_digits():
    left, right = (
        torch.randn(256, 256, dtype=torch.float64, generator=torch.Generator().manual_seed(s)) for s in (1, 2)
    )
    with autocast(torch.device("cuda"), "fp32"):
        product = (left.float().cuda() @ right.float().cuda()).double().cpu()
    assert (product - left @ right).abs().max() < 1e-4  # TF32 errs by 1e-2
