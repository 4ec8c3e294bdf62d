import logging

import numpy as np
import pytest
import torch

from cxr_ray.models.engines.device_parts import MOST_IMAGES, DeviceParts

CPU = torch.device("cpu")
PIXELS = np.random.default_rng(1).integers(0, 256, (37, 6, 6), dtype=np.uint8)
EXPECTED = PIXELS.reshape(37, -1).mean(1, keepdims=True)


def network_with_room_for(most, sizes):
    """A network that has no memory for more than `most` images, and notes the sizes of its batches."""

    def network(pixels):
        sizes.append(len(pixels))
        if len(pixels) > most:
            raise torch.OutOfMemoryError
        return pixels.flatten(1).double().mean(1, keepdim=True)

    return network


def test_a_batch_that_does_not_fit_is_halved_once_for_all(caplog):
    sizes = []
    parts = DeviceParts(network_with_room_for(10, sizes), CPU)
    with caplog.at_level(logging.WARNING):
        np.testing.assert_allclose(parts(PIXELS), EXPECTED, rtol=1e-6)
    assert sizes == [37, 19, *[10, 10, 10, 7]]
    assert "37 images do not fit the memory of cpu; going on with 19" in caplog.text
    sizes.clear()
    assert parts(PIXELS[:12]).shape == (12, 1)
    assert sizes == [10, 2]


def test_an_image_that_does_not_fit_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        DeviceParts(network_with_room_for(0, []), CPU)(PIXELS)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_computes_all_parts_of_a_batch():
    pixels = np.random.default_rng(2).integers(0, 256, (3 * MOST_IMAGES + 5, 6, 6), dtype=np.uint8)
    parts = DeviceParts(network_with_room_for(50, []), torch.device("cuda"))
    np.testing.assert_allclose(parts(pixels), pixels.reshape(len(pixels), -1).mean(1, keepdims=True), rtol=1e-6)
