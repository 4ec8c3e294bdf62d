"""Imports without torch's compiler, each in a process of its own, because a module is imported once."""

import subprocess
import sys

import pytest

TINY_SAM = "SamConfig(encoder_depth=1, encoder_embed_dim=32, encoder_num_heads=2, encoder_global_attn_indexes=(0,), prompt_embed_dim=32, image_size=64)"
LOADED = "import sys; print('torch._dynamo' in sys.modules)"


def printed_by(code: str) -> list[str]:
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return run.stdout.split()


@pytest.mark.slow
def test_a_classifier_and_sam_score_without_loading_the_compiler_which_then_works():
    code = f"""
import torch
from cxr_ray.models.backbones import build_backbone
from cxr_ray.models.sam import SamConfig, build_sam
model = build_backbone("efficientnet_b0", num_classes=2, image_size=32).eval()
with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
    print(model(torch.zeros(1, 3, 32, 32)).shape[1])
    print(build_sam({TINY_SAM}).image_encoder(torch.zeros(1, 3, 64, 64)).shape[1])
{LOADED}
from torchvision.ops import roi_align
torch.use_deterministic_algorithms(True)
print(roi_align(torch.ones(1, 1, 8, 8), torch.tensor([[0.0, 0, 0, 4, 4]]), 1).item())
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
{LOADED}
"""
    assert printed_by(code) == ["2", "32", "False", "1.0", "2.0", "True"]


@pytest.mark.slow
def test_a_loaded_compiler_stays():
    code = f"""
import torch._dynamo
from cxr_ray.models.light_import import import_without_compiler
print(import_without_compiler("timm").__name__, torch._dynamo.disable is not None)
{LOADED}
"""
    assert printed_by(code) == ["timm", "True", "True"]
