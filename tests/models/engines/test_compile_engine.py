import numpy as np
import pytest

from cxr_ray.models.engines.compile_engine import CompileEngine
from cxr_ray.models.engines.torch_engine import TorchEngine


@pytest.mark.slow
def test_it_computes_what_torch_computes_for_any_number_of_images(small_forward, tmp_path):
    engine = CompileEngine(small_forward, device="cpu", precision="fp32", threads=1)
    again = CompileEngine(small_forward, device="cpu", precision="fp32", threads=1)  # loads what the first one compiled
    assert len(list((tmp_path / "cache/cxr_ray/engines").glob("*/model.pt2"))) == 1
    expected = TorchEngine(small_forward, device="cpu", precision="fp32", threads=1)
    np.testing.assert_allclose(engine.reference, expected.reference, atol=1e-6)
    for count in (5, 1, 40):
        pixels = np.random.default_rng(count).integers(0, 256, (count, 16, 16), dtype=np.uint8)
        found = engine(pixels)
        assert (found.dtype, found.shape) == (np.float32, (count, 2))
        np.testing.assert_allclose(found, expected(pixels), atol=1e-5)
        np.testing.assert_array_equal(again(pixels), found)
