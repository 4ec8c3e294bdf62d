import io

import numpy as np
import pytest
from PIL import Image

from cxr_ray.imaging.fingerprint import perceptual_hash
from cxr_ray.phantoms.phantom import PHANTOM_LABELS, draw_phantom

COPIES_WITHIN, STRANGERS_BEYOND = 18, 36


@pytest.fixture(scope="module")
def phantoms():
    return [draw_phantom(label, seed=seed, size=128).pixels for seed, label in enumerate(PHANTOM_LABELS * 3)]


def distance(one, other):
    return int((perceptual_hash(one) != perceptual_hash(other)).sum())


def recompress(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=60)
    return np.array(Image.open(buffer))


def test_is_256_bits(phantoms):
    found = perceptual_hash(phantoms[0])
    assert found.dtype == np.bool_
    assert found.shape == (256,)
    assert 64 < found.sum() < 192
    np.testing.assert_array_equal(found, perceptual_hash(phantoms[0].copy()))


@pytest.mark.parametrize(
    "change",
    [
        recompress,
        lambda pixels: np.array(Image.fromarray(pixels).resize((190, 170))),
        lambda pixels: np.rint(pixels * 0.8 + 20).astype(np.uint8),
    ],
    ids=["recompressed", "resized", "brighter and flatter"],
)
def test_copies_are_near(phantoms, change):
    assert max(distance(pixels, change(pixels)) for pixels in phantoms) <= COPIES_WITHIN


def test_strangers_are_far(phantoms):
    pairs = [(a, b) for i, a in enumerate(phantoms) for b in phantoms[:i]]
    assert min(distance(a, b) for a, b in pairs) > STRANGERS_BEYOND


@pytest.mark.parametrize("shape", [(1, 1), (3, 500), (64, 64)])
def test_any_size_has_one(shape):
    assert perceptual_hash(np.zeros(shape, np.uint8)).shape == (256,)
