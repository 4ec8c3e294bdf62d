import numpy as np
import pytest

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@pytest.mark.parametrize("memory_format", ["contiguous_format", "channels_last"])
def test_normalises_the_grey_plane_into_every_channel(memory_format):
    import torch

    from cxr_ray.models.grey_input import GreyInput

    pixels = np.arange(256, dtype=np.uint8).reshape(2, 16, 8)
    wanted = getattr(torch, memory_format)
    inputs = GreyInput(MEAN, STD, torch.device("cpu"), wanted)(pixels)
    expected = np.stack([(pixels / 255 - mean) / std for mean, std in zip(MEAN, STD, strict=True)], axis=1)
    assert inputs.dtype == torch.float32
    assert inputs.is_contiguous(memory_format=wanted)
    np.testing.assert_allclose(inputs.numpy(), expected, atol=1e-6)
