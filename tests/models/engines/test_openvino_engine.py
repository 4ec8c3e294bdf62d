import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cxr_ray.errors import EngineError
from cxr_ray.models.engines.engine import ForwardPass
from cxr_ray.models.engines.openvino_engine import OpenVinoEngine, filled_count
from cxr_ray.models.engines.torch_engine import TorchEngine

RANDOM = np.random.default_rng(3)


def test_it_computes_what_torch_computes_for_any_number_of_images(small_forward):
    engine = OpenVinoEngine(small_forward, device="cpu", precision="fp32", threads=1)
    expected = TorchEngine(small_forward, device="cpu", precision="fp32", threads=None)
    np.testing.assert_allclose(engine.reference, expected.reference, atol=1e-6)
    for count in (5, 1, 40):
        pixels = RANDOM.integers(0, 256, (count, 16, 16), dtype=np.uint8)
        pixels.flags.writeable = False  # as pixels from Arrow are
        found = engine(pixels)
        assert (found.dtype, found.shape) == (np.float32, (count, 2))
        np.testing.assert_allclose(found, expected(pixels), atol=1e-5)


def test_batches_have_few_sizes_so_that_what_openvino_compiles_for_each_does_not_fill_the_memory():
    sizes = [filled_count(count) for count in range(1, 129)]
    assert all(count <= size < 1.5 * count for count, size in enumerate(sizes, start=1))
    assert sorted(set(sizes)) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128]


def test_outputs_are_not_overwritten_by_the_next_batch(small_forward):
    engine = OpenVinoEngine(small_forward, device="cpu", precision="fp32", threads=1)
    first = engine(np.zeros((2, 16, 16), np.uint8))
    kept = first.copy()
    engine(np.full((2, 16, 16), 255, np.uint8))
    np.testing.assert_array_equal(first, kept)


def test_auto_takes_the_precision_that_openvino_prefers(small_forward):
    import openvino

    preferred = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    engine = OpenVinoEngine(small_forward, device="cpu", precision="auto", threads=None)
    assert engine.precision == {"f32": "fp32", "bf16": "bf16", "f16": "fp16"}[preferred]


def test_what_openvino_cannot_do_is_named(small_forward, monkeypatch):
    import openvino

    with pytest.raises(EngineError, match="computes on CPUs alone; got the device cuda"):
        OpenVinoEngine(small_forward, device="cuda", precision="fp32", threads=None)
    if "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        with pytest.raises(EngineError, match="OpenVINO has no bf16 on this CPU; ask for precision auto"):
            OpenVinoEngine(small_forward, device="cpu", precision="bf16", threads=None)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match="OpenVINO is not installed; install the package openvino"):
        OpenVinoEngine(small_forward, device="cpu", precision="fp32", threads=None)


class Unconvertible(nn.Module):
    """uint8 [N, S, S] -> singular values, which OpenVINO does not compute."""

    def forward(self, pixels):
        return torch.linalg.svdvals(pixels.float())


def test_a_network_that_cannot_be_converted_is_an_engine_error(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    forward = ForwardPass(name="odd", identity="odd", image_size=8, build=Unconvertible)
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with pytest.raises(
        EngineError, match=r"OpenVINO cannot convert the network: -- No conversion rule found for operations: .*svd"
    ):
        OpenVinoEngine(forward, device="cpu", precision="fp32", threads=None)
    assert (root.level, root.handlers) == before  # the warning of what follows must reach the user


WARM = """
import sys
import numpy as np
from cxr_ray.models.classifier import Classifier
classifier = Classifier(sys.argv[1], device="cpu", precision="fp32", engine="auto")
size = classifier.card.image_size
classifier.predict(np.zeros((2, size, size), np.uint8))
print(classifier.engine.name, *sorted({"torch", "timm", "openvino_telemetry"} & {n for n, m in sys.modules.items() if m}))
"""


@pytest.mark.slow
def test_a_kept_model_is_scored_without_torch_and_nobody_is_told(save_random, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    save_random(tmp_path / "model")
    said = [
        subprocess.run(
            [sys.executable, "-c", WARM, str(tmp_path / "model")], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert said == [["openvino", "timm", "torch"], ["openvino"]]
    assert len(list(Path(tmp_path, "cache/cxr_ray/engines").glob("*/model.xml"))) == 1
