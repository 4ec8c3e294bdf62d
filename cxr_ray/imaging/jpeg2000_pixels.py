"""Decode JPEG 2000 and HTJ2K at a reduced scale, which takes a fraction of the time, because most of it goes to the finest details."""

from io import BytesIO

import numpy as np
from PIL import ImageFile
from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

from cxr_ray.imaging.codestream import CodestreamHeader


def reduced_jpeg2000(codestream: bytes, header: CodestreamHeader, reduction: int) -> np.ndarray:
    """Decode one grey image by Pillow's OpenJPEG without its finest resolutions; pylibjpeg's has no option for it.

    Args:
        codestream: a whole codestream without boxes.
        header: its header.
        reduction: power of two, at most 2**`header.levels`.

    Returns:
        Words [H, W], uint8 or uint16, of `header.precision` bits in two's complement; H and W are rounded up.

    Raises:
        OSError, SyntaxError or ValueError: as Pillow raises for a damaged codestream.
    """
    image = Jpeg2KImageFile(BytesIO(codestream))
    width, height = -(-header.width // reduction), -(-header.height // reduction)
    # Pillow itself rounds the size to the nearest number, and OpenJPEG rounds it up.
    image._size = (width, height)
    options = ("j2k", reduction.bit_length() - 1, 0, -1, len(codestream))  # all layers, from no file with a descriptor
    image.tile = [ImageFile._Tile("jpeg2k", (0, 0, width, height), 0, options)]
    scaled = np.array(image)  # Pillow moves samples to the top of their words, and signed ones above zero
    words: np.ndarray = scaled >> (8 * scaled.itemsize - header.precision)
    if header.is_signed:
        words ^= 1 << (header.precision - 1)
    return words
