"""Decode a PNG by Pillow where Pillow falls short: samples of 16 bits in colour, missing rows and chunks that are no pixels."""

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngImageFile

from cxr_ray.imaging.limits import ErrorKind, ImageRefused

_SIGNATURE_BYTES = 8
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of each colour type (PNG 11.2.1)
_NEEDED = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"eXIf"}
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""Adam7 (PNG 8.2): first column, first row, step of columns, step of rows."""
_PAPER = {
    "1": 255,
    "L": 173,
    "P": 173,
    "I;16": 44461,
    "LA": (173, 91),
    "RGB": (173, 91, 37),
    "RGBA": (173, 91, 37, 211),
}
"""Values that a row of an image does not have by chance."""


class WatchedPng(PngImageFile):
    """A PNG whose rows without data can be told from black ones."""

    def load_prepare(self) -> None:
        """Begin with values that tell rows without data."""
        if self._im is None and self.mode in _PAPER:
            self.im = Image.core.fill(self.mode, self.size, _PAPER[self.mode])
        super().load_prepare()


def open_png(data: bytes) -> WatchedPng:
    """Open a PNG; if an ancillary chunk is damaged or too large for Pillow, it is left out, because it holds no pixels.

    Raises:
        OSError, SyntaxError, ValueError or struct.error: as Pillow raises for a damaged file.
    """
    try:
        return _with_scaled_key(WatchedPng(BytesIO(data)), data)
    except (OSError, SyntaxError, ValueError, struct.error):
        plain = without_annotations(data)
        if plain == data:
            raise
        return _with_scaled_key(WatchedPng(BytesIO(plain)), data)


def is_wide_colour(data: bytes) -> bool:
    """Whether the header of a PNG claims samples of 16 bits with colour or alpha, which Pillow reduces to 8."""
    return len(data) > 25 and data[24] == 16 and data[25] in (2, 4, 6)


def whole_png(data: bytes, image: WatchedPng) -> WatchedPng:
    """Load the pixels of an opened PNG.

    Raises:
        ImageRefused: `truncated` if the compressed data end before the last row.
        OSError, SyntaxError, ValueError or struct.error: as Pillow raises for a damaged file.
    """
    image.load()
    if _has_paper(image) and _inflated_bytes(data) < _needed_bytes(data):
        raise ImageRefused(ErrorKind.TRUNCATED, "png ends before its last pixel")
    return image


def wide_samples(data: bytes) -> np.ndarray:
    """Samples of a PNG with 16-bit colour or alpha, uint16 [H, W, channels]; channels are grey and alpha, RGB or RGBA.

    Raises:
        ImageRefused: `truncated` as for `whole_png`.
        OSError, SyntaxError, ValueError or struct.error: as Pillow raises for a damaged file.
    """
    channels = _CHANNELS[data[25]]
    if channels == 2:  # the two 16-bit samples of a pixel are read as four of 8 bits
        halves = np.asarray(whole_png(data, _in_raw_mode(data, "RGBA"))).astype(np.uint16)
        wide: np.ndarray = halves[..., ::2] << 8 | halves[..., 1::2]
        return wide
    mode = "RGB" if channels == 3 else "RGBA"
    high = np.asarray(whole_png(data, _in_raw_mode(data, f"{mode};16B"))).astype(np.uint16)
    low = np.asarray(_in_raw_mode(data, f"{mode};16L"))  # read in the other byte order, the high byte is the low one
    samples: np.ndarray = high << 8 | low
    return samples


def without_annotations(data: bytes) -> bytes:
    """Remove every chunk that does not decide about pixels, their transparency and orientation."""
    kept = [data[:_SIGNATURE_BYTES]]
    kept += [data[start:stop] for name, start, stop in _chunks(data) if name in _NEEDED]
    return b"".join(kept)


def _in_raw_mode(data: bytes, raw_mode: str) -> WatchedPng:
    image = open_png(data)
    ((codec, extents, offset, _),) = image.tile
    image.tile = [ImageFile._Tile(codec, extents, offset, raw_mode)]
    return image


def _with_scaled_key(image: WatchedPng, data: bytes) -> WatchedPng:
    """Scale the transparent sample of a grey image of few bits as Pillow scales its samples (PNG 11.3.2.1)."""
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int):
        most = 2 ** min(data[24], 8) - 1
        image.info["transparency"] = (key & most) * 255 // most
    elif image.mode == "RGB" and isinstance(key, tuple) and data[24] == 8:
        image.info["transparency"] = tuple(one & 255 for one in key)
    return image


def _has_paper(image: WatchedPng) -> bool:
    """Whether the last row that is written has the values of rows without data, or an interlaced one any of them."""
    if image.mode not in _PAPER:
        return False
    row = image.height - 1
    if image.info.get("interlace"):
        row -= (row + 1) % 2 if image.height > 1 else 0  # the last pass has the odd rows
    written = np.asarray(image.crop((0, row, image.width, row + 1)))
    is_paper = written == np.array(_PAPER[image.mode], written.dtype)
    return bool(is_paper.any() if image.info.get("interlace") else is_paper.all())


def _inflated_bytes(data: bytes) -> int:
    inflater, size = zlib.decompressobj(), 0
    for name, start, stop in _chunks(data):
        pending = data[start + 8 : stop - 4] if name == b"IDAT" else b""
        while pending and not inflater.eof:
            size += len(inflater.decompress(pending, 2**20))
            pending = inflater.unconsumed_tail
    return size


def _needed_bytes(data: bytes) -> int:
    """Bytes of all rows with their filter types (PNG 7.2)."""
    width, height, depth, colour = struct.unpack_from(">2I2B", data, 16)
    passes = _PASSES if data[28] else ((0, 0, 1, 1),)
    bits = depth * _CHANNELS[colour]
    sizes = ((-(-(width - left) // across), -(-(height - top) // down)) for left, top, across, down in passes)
    return sum(rows * (1 + -(-columns * bits // 8)) for columns, rows in sizes if columns > 0 and rows > 0)


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Yield the name, the start and the stop of each chunk, as far as the file goes."""
    start = _SIGNATURE_BYTES
    while start + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, start)
        stop = start + 12 + length
        yield name, start, stop
        start = stop
