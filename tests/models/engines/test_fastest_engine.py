import json
import logging
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from cxr_ray.errors import EngineError
from cxr_ray.models.engines.agreement import require_agreement
from cxr_ray.models.engines.converted_model import REFERENCE, SUMS, sums_of
from cxr_ray.models.engines.fastest_engine import CLASSES, engine_class, fastest_engine


@pytest.fixture
def torch_disagrees(small_forward, tmp_path):
    """The cache with a converted model whose kept reference is of another model, as if OpenVINO computed wrongly."""
    fastest_engine(small_forward, engine="openvino", device="cpu", precision="fp32")
    (folder,) = (path.parent for path in (tmp_path / "cache/cxr_ray/engines").glob(f"*/{REFERENCE}"))
    np.save(folder / REFERENCE, 1 - np.load(folder / REFERENCE))
    (folder / SUMS).write_text(json.dumps(sums_of(folder)))


def test_auto_takes_openvino_on_a_cpu(small_forward, caplog):
    assert fastest_engine(small_forward, device="cpu").name == "openvino"
    assert caplog.text == ""


def test_the_engine_that_is_named_is_taken(small_forward):
    for name in ("torch", "openvino"):
        assert fastest_engine(small_forward, engine=name, device="cpu", precision="fp32").name == name
    assert {name: engine_class(name).name for name in CLASSES} == {name: name for name in CLASSES}


def test_auto_says_in_one_line_why_it_passes_an_engine_over(small_forward, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with caplog.at_level(logging.WARNING, "cxr_ray"):
        engine = fastest_engine(small_forward, device="cpu", precision="fp32")
    assert (engine.name, engine.precision) == ("torch", "fp32")
    assert [record.getMessage() for record in caplog.records] == [
        "small is not computed by the engine openvino: OpenVINO is not installed; install the package openvino"
    ]
    with pytest.raises(EngineError, match="small cannot be computed by the engine openvino: OpenVINO is not installed"):
        fastest_engine(small_forward, engine="openvino", device="cpu")


def test_an_engine_that_disagrees_with_torch_is_passed_over(small_forward, torch_disagrees, caplog):
    assert fastest_engine(small_forward, device="cpu", precision="fp32").name == "torch"
    assert "of its probabilities differ from those of torch by more than 0.02" in caplog.text
    with pytest.raises(EngineError, match=r"small cannot be computed by the engine openvino: .* differ from those"):
        fastest_engine(small_forward, engine="openvino", device="cpu", precision="fp32")


def test_features_are_computed_in_fp32_where_no_faster_engine_or_precision_agrees(
    small_forward, torch_disagrees, caplog
):
    features = replace(small_forward, outputs="features")
    engine = fastest_engine(features, device="cpu")
    assert (engine.name, engine.precision) == ("torch", "fp32")
    assert caplog.text.count("the features of 100.0% of the images differ from those of torch by more than 2%") == 2


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_a_gpu_has_an_engine_that_agrees(small_forward, precision):
    require_agreement(fastest_engine(small_forward, device="cuda", precision=precision), small_forward)
