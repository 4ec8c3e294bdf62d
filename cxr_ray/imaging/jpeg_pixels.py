"""Decode a JPEG by Pillow and refuse one whose data are damaged, which libjpeg would show with noise or grey areas.

libjpeg only warns of damaged data, and Pillow drops its warnings. What the damage leaves behind is found instead: data
that are left over when the last row is finished, blocks of mid-grey because the data ended first, and restart markers
that are missing.
"""

import re
from io import BytesIO
from itertools import pairwise

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from cxr_ray.imaging.codestream import count_scans
from cxr_ray.imaging.limits import ErrorKind, ImageRefused

MAX_SCANS = 100
"""Maximum number of scans of a JPEG: each is a pass over the whole image, and files that cameras and archives write have 10."""

_END_OF_IMAGE = b"\xff\xd9"
_RESTART = re.compile(rb"\xff([\xd0-\xd7])")
_TAIL_BYTES = 64
_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
_UNSUPPORTED = re.compile(
    rb"\xff(?:[\xc3\xf7]..[\x02-\x10]|\xc1..[\x09-\x10]|[\xc5-\xc7\xc9-\xcb\xcd-\xcf]..[\x02-\x10])", re.DOTALL
)


def refuse_many_scans(jpeg: bytes) -> None:
    """Refuse a JPEG of more than `MAX_SCANS` scans, which would keep the decoder busy for minutes.

    Raises:
        ImageRefused: `too_large`.
    """
    scans = count_scans(jpeg)
    if scans > MAX_SCANS:
        raise ImageRefused(ErrorKind.TOO_LARGE, f"JPEG has {scans} scans; at most {MAX_SCANS} are decoded")


def is_of_another_process(jpeg: bytes) -> bool:
    """Whether the first frame header is one that the standards define and Pillow does not read.

    Those are lossless, JPEG-LS, hierarchical and arithmetic-coded JPEG, and JPEG of 12 bits (ITU-T T.81, Table B.2).
    """
    position = 2
    while position + 5 <= len(jpeg) and jpeg[position] == 0xFF:
        marker = jpeg[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in _FRAMES:
            return _UNSUPPORTED.match(jpeg, position) is not None
        position += 2 + int.from_bytes(jpeg[position + 2 : position + 4])
    return False


class WatchedJpeg(JpegImageFile):
    """A JPEG whose last bytes reach the decoder only after the rest, so that a decoder that needs them not is noticed."""

    _tail = 0
    is_left_over = False

    def load_read(self, read_bytes: int) -> bytes:
        """Read up to the tail at once, and note whether the last row is finished without it."""
        assert self.fp is not None  # noqa: S101 - Pillow closes it after loading only
        position = self.fp.tell()
        if position < self._tail:
            return self.fp.read(self._tail - position)
        if position == self._tail:
            last_row = self.im.crop((0, self.height - 1, self.width, self.height))
            self.is_left_over = last_row.getbbox() is not None  # Pillow creates an image of zeros
        return self.fp.read(read_bytes)

    def watch(self, data: bytes) -> None:
        """Find the tail of the entropy-coded data of `data`, the bytes of this file, before it is loaded."""
        assert self.fp is not None  # noqa: S101 - as above
        start = self.fp.tell()
        end = data.find(_END_OF_IMAGE, start)
        # A decoder of progressive JPEG shows nothing before the end, and one of arithmetic coding cannot wait for data.
        if end >= 0 and "progressive" not in self.info and b"\xff\xc9" not in data[:start]:
            padded = data[max(start, end - 2**16) : end]
            end -= len(padded) - len(padded.rstrip(b"\0\xff"))
            self._tail = max(start, end - _TAIL_BYTES)


def whole_jpeg(data: bytes, draft: tuple[str, tuple[int, int]] | None = None) -> Image.Image:
    """Decode a JPEG of 8 bits, at a reduced scale if `draft` asks for it as Pillow's `draft` does.

    Raises:
        ImageRefused: `unreadable` or `truncated` if its entropy-coded data are damaged.
    """
    image = WatchedJpeg(BytesIO(data))
    if draft is not None:
        image.draft(*draft)
    assert image.fp is not None  # noqa: S101 - it is open
    start = image.fp.tell()
    image.watch(data)
    image.load()
    if image.is_left_over or not _restarts_are_complete(image, data[start : data.find(_END_OF_IMAGE, start)], data):
        raise ImageRefused(ErrorKind.UNREADABLE, "jpeg is damaged (data are left over or missing)")
    if _ends_in_grey(image) and _changes_with_more_data(image, data, start, draft):
        raise ImageRefused(ErrorKind.TRUNCATED, "jpeg ends before its last pixel")
    return image


def _restarts_are_complete(image: JpegImageFile, entropy: bytes, data: bytes) -> bool:
    """Whether restart markers count up modulo 8 (ITU-T T.81, B.2.1) in the one scan of a sequential JPEG."""
    if "progressive" in image.info or count_scans(data) != 1 or b"\xff\xd0" not in entropy:
        return True
    numbers = [found[0] for found in _RESTART.findall(entropy)]
    return numbers[0] == 0xD0 and all((later - earlier) % 8 == 1 for earlier, later in pairwise(numbers))


def _ends_in_grey(image: Image.Image) -> bool:
    """Whether the last block has the value of blocks without data, the middle of the range."""
    last_pixel = image.getpixel((image.width - 1, image.height - 1))
    values = last_pixel if isinstance(last_pixel, tuple) else (last_pixel,)
    return all(value in (127, 128) for value in values)


def _changes_with_more_data(
    image: Image.Image, data: bytes, start: int, draft: tuple[str, tuple[int, int]] | None
) -> bool:
    """Whether zeros behind the data change the picture, which they do only if the data are missing something."""
    end = data.find(_END_OF_IMAGE, start)
    longer = JpegImageFile(BytesIO(data[:end] + bytes(4096) + _END_OF_IMAGE))
    if draft is not None:
        longer.draft(*draft)
    return not np.array_equal(np.asarray(image), np.asarray(longer))
