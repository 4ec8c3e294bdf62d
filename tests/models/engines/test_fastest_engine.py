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


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_a_gpu_has_an_engine_that_agrees(small_forward, precision):
    require_agreement(fastest_engine(small_forward, device="cuda", precision=precision), small_forward)


@pytest.fixture
def moved_int8(small_forward, small_int8):
    """A model whose int8 network, on this CPU, does not compute what it computed where it was made."""
    other = replace(small_int8, reference=1 - small_int8.reference)
    return replace(small_forward, int8=lambda: other)


def test_the_int8_network_is_taken_without_a_word(small_forward, small_int8, caplog):
    engine = fastest_engine(replace(small_forward, int8=lambda: small_int8), device="cpu")
    assert (engine.name, engine.precision, caplog.text) == ("openvino", "int8", "")
    exact = fastest_engine(replace(small_forward, int8=lambda: small_int8), device="cpu", precision="fp32")
    assert (exact.name, exact.precision, caplog.text) == ("openvino", "fp32", "")


def test_an_int8_network_that_is_not_used_is_named(moved_int8, caplog):
    engine = fastest_engine(moved_int8, device="cpu")
    assert engine.name == "torch"
    disagreement, consequence = [record.getMessage() for record in caplog.records]
    assert disagreement.startswith(
        "small is not computed by the engine openvino: 100.0% of its probabilities differ from "
    )
    assert disagreement.endswith(" those of its int8 network where that was made by more than 0.02")
    assert consequence == (
        "the int8 network of small, which only OpenVINO on CPUs computes, is not used: torch computes the original in "
        f"{engine.precision}"
    )
    with pytest.raises(
        EngineError, match=r"small cannot be computed by the engine openvino: .* its int8 network where"
    ):
        fastest_engine(moved_int8, engine="openvino", device="cpu")


def test_an_engine_that_was_named_computes_the_original_of_a_quantised_model_without_a_word(moved_int8, caplog):
    assert fastest_engine(moved_int8, engine="torch", device="cpu", precision="auto").name == "torch"
    assert caplog.text == ""


def test_features_are_computed_in_fp32_where_no_faster_engine_or_precision_agrees(
    small_forward, torch_disagrees, caplog
):
    features = replace(small_forward, outputs="features")
    engine = fastest_engine(features, device="cpu")
    assert (engine.name, engine.precision) == ("torch", "fp32")
    assert caplog.text.count("the features of 100.0% of the images differ from those of torch by more than 2%") == 2
