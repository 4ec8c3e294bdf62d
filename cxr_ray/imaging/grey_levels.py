"""Convert samples of any depth and colour to 8-bit grey."""

import numpy as np
from PIL import Image


def luma(image: Image.Image) -> np.ndarray:
    """Convert an image of 8 bits or fewer to grey uint8 [H, W] by Pillow's `convert("L")`; transparency is blended with black."""
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        image = Image.alpha_composite(black, image.convert("RGBA"))
    return np.array(image.convert("L"))


def scale_occupied_bits(samples: np.ndarray) -> np.ndarray:
    """Scale 16-bit samples to 8 bits by the number of bits that are in use.

    Radiographs of 10 to 14 bits are commonly stored in files of 16 bits without being scaled up. Therefore the white
    level is 2**bits - 1, where bits is the number of bits of the brightest sample, at least 8. For example, 12-bit
    samples are multiplied by 255/4095, and `257 * a` gives back the uint8 image `a` if its maximum is at least 128.

    Args:
        samples: uint16 [H, W].

    Returns:
        uint8 [H, W], rounded.
    """
    bits = max(8, int(samples.max()).bit_length())
    white = 2**bits - 1
    table = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)
    scaled: np.ndarray = table[samples]
    return scaled
