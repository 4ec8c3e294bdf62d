import logging
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from cxr_ray.errors import EngineError
from cxr_ray.models.engines.agreement import check_pixels
from cxr_ray.models.engines.quantize import int8_program, quantize, require_quantizer


def test_the_int8_network_computes_nearly_what_the_original_does(small_int8, small_forward, tmp_path):
    pixels = np.concatenate([check_pixels(16), np.random.default_rng(1).integers(0, 256, (9, 16, 16), np.uint8)])
    with torch.inference_mode():
        expected = small_forward.build()(torch.from_numpy(pixels)).numpy()
    found = int8_program(small_int8, tmp_path)(pixels)
    assert (found.dtype, found.shape) == (np.float32, (17, 2))
    assert 0 < np.abs(found - expected).max() < 0.06
    assert (found.argmax(1) == expected.argmax(1)).all()
    np.testing.assert_array_equal(small_int8.reference, int8_program(small_int8, tmp_path)(check_pixels(16)))


def test_weights_are_int8_and_nothing_says_where_the_network_was_made(small_int8):
    text = small_int8.graph.decode()
    assert re.search(r'<data element_type="i8" shape="4, ?1, ?3, ?3"', text), "the weights of the convolution"
    assert text.count("FakeQuantize") >= 2
    for note in ("rt_info", "nncf", "Runtime", "/"):
        assert note not in re.sub(r'(name|names)="[^"]*"|</|/>', "", text)


def test_the_loggers_of_this_process_stay_as_they_were(small_int8):
    assert not {name for name in sys.modules if name.partition(".")[0] == "nncf"}
    assert logging.getLoggerClass() is logging.Logger
    assert "nncf" not in logging.root.manager.loggerDict


def test_libraries_that_are_missing_are_named_with_what_installs_them(monkeypatch):
    require_quantizer()
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(EngineError, match=r"NNCF is not installed; .* pip install 'cxr_ray\[int8\]'"):
        require_quantizer()
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(EngineError, match="OpenVINO is not installed"):
        require_quantizer()


def test_what_nncf_cannot_do_is_one_line(small_forward):
    with pytest.raises(EngineError, match=r"^NNCF cannot quantise the network: .*\S$"):
        quantize(replace(small_forward, image_size=16), np.zeros((2, 9, 9), np.uint8))
