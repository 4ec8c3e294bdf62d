import numpy as np
import torch

from cxr_ray.models.engines.agreement import check_pixels
from cxr_ray.models.engines.torch_engine import TorchEngine


def test_it_computes_the_network_and_its_reference_is_fp32(small_forward):
    pixels = check_pixels(16)
    with torch.inference_mode():
        expected = small_forward.build()(torch.from_numpy(pixels)).numpy()
    exact = TorchEngine(small_forward, device="cpu", precision="fp32", threads=None)
    fast = TorchEngine(small_forward, device="cpu", precision="bf16", threads=None)
    assert (exact.precision, fast.precision) == ("fp32", "bf16")
    for outputs in (exact(pixels), exact.reference, fast.reference):
        assert outputs.dtype == np.float32
        np.testing.assert_array_equal(outputs, expected)
    assert 0 < np.abs(fast(pixels) - expected).max() < 0.02
