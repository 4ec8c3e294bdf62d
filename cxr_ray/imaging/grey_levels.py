"""Convert samples of any depth and colour to 8-bit grey."""

import numpy as np
from PIL import Image

WORDS = 2**16
"""Number of values that a sample of at most 16 bits can have."""


def looked_up(samples: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Replace each sample by its entry in a table.

    Arrow does it, because NumPy first converts every index to 64 bits and takes four times as long.

    Args:
        samples: uint8 or uint16 [H, W].
        table: uint8 [65536], the entry of each value that a sample can have.

    Returns:
        uint8 [H, W].

    Raises:
        ValueError: if the table has not 65,536 entries, or the samples are neither uint8 nor uint16.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if table.shape != (WORDS,) or samples.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"samples must be uint8 or uint16 and the table [{WORDS}]; got {samples.dtype}, {table.shape}")
    found = pc.take(pa.array(table), pa.array(samples.ravel()), boundscheck=False)  # an index of 16 bits has an entry
    return np.frombuffer(found.buffers()[1], np.uint8, samples.size).reshape(samples.shape)


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
    return _scaled(samples, int(samples.max()))


def wide_luma(samples: np.ndarray, transparent: tuple[int, ...] | None = None) -> np.ndarray:
    """Convert 16-bit colour to 8-bit grey without losing depth; transparency is blended with black.

    The weights are those of Pillow's `convert("L")`, and the white level is that of `scale_occupied_bits` for the
    brightest sample that can be seen.

    Args:
        samples: uint16 [H, W, 2] (grey, alpha), [H, W, 3] (RGB) or [H, W, 4] (RGB, alpha).
        transparent: RGB samples of pixels that are transparent.

    Returns:
        uint8 [H, W].
    """
    colours = samples[..., : 3 if samples.shape[-1] >= 3 else 1]
    alpha = samples[..., -1].astype(np.uint64) if samples.shape[-1] in (2, 4) else None
    if colours.shape[-1] == 3:
        red, green, blue = np.moveaxis(colours.astype(np.uint32), -1, 0)
        grey = (red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16
    else:
        grey = colours[..., 0].astype(np.uint32)
    if alpha is not None:
        is_seen = alpha > 0
        grey = (grey * alpha + 32767) // 65535
    elif transparent is not None:
        is_seen = (colours != np.array(transparent, np.uint16)).any(-1)
        grey[~is_seen] = 0
    else:
        is_seen = np.ones(grey.shape, bool)
    brightest = int(colours.max(-1)[is_seen].max(initial=0))
    return _scaled(grey, brightest)


def _scaled(samples: np.ndarray, brightest: int) -> np.ndarray:
    bits = max(8, brightest.bit_length())
    white = 2**bits - 1
    table = np.zeros(WORDS, np.uint8)
    table[: white + 1] = np.rint(np.arange(white + 1) * (255 / white))
    return looked_up(samples.astype(np.uint16, copy=False), table)
