"""Decode a JPEG by Pillow and refuse one whose data are damaged, which libjpeg would show with noise or grey areas.

libjpeg only warns of damaged data, and Pillow drops its warnings. What the damage leaves behind is found instead: data
that are left over when the last row is finished, blocks of mid-grey because the data ended first, and restart markers
that are missing.
"""

import re
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from cxr_ray.imaging.codestream import count_scans
from cxr_ray.imaging.limits import ErrorKind, ImageRefused

MAX_SCANS = 100
"""Maximum number of scans of a JPEG: each is a pass over the whole image, and files that cameras and archives write have 10."""

_END_OF_IMAGE = b"\xff\xd9"
_START_OF_SCAN = 0xDA
_HOLE = bytes(48)
_TAIL_BYTES = 8
"""Bytes at the end without which the last block cannot be decoded, and some that writers may append."""
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

    start, used, end = 0, -1, -1
    """Offsets of the entropy-coded data, of the padding behind it and of the end marker."""
    codes = np.empty(0, np.uint8)
    """Bytes that follow bytes 0xFF in the entropy-coded data, and that of the end marker."""
    is_watched = False
    is_left_over = False
    _tail = 0

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
        self.start = self.fp.tell()
        found = np.frombuffer(data, np.uint8)
        prefixes = np.flatnonzero(found[:-1] == 0xFF)  # a search by numpy takes half the time of `bytes.find`
        codes = found[prefixes + 1]
        behind = int(np.searchsorted(prefixes, self.start))
        ends = np.flatnonzero(codes[behind:] == _END_OF_IMAGE[1])
        # A decoder of progressive JPEG shows nothing before the end, and one of arithmetic coding cannot wait for data.
        is_sequential = "progressive" not in self.info and b"\xff\xc9" not in data[: self.start]
        if ends.size and is_sequential:
            self.is_watched = True
            self.codes = codes[behind : behind + ends[0] + 1]
            self.end = int(prefixes[behind + ends[0]])
            padded = data[max(self.start, self.end - 2**16) : self.end]
            self.used = self.end - len(padded) + len(padded.rstrip(b"\0\xff"))
            self._tail = max(self.start, self.used - _TAIL_BYTES)


def whole_jpeg(data: bytes, draft: tuple[str, tuple[int, int]] | None = None) -> Image.Image:
    """Decode a JPEG of 8 bits, at a reduced scale if `draft` asks for it as Pillow's `draft` does.

    Raises:
        ImageRefused: `unreadable` or `truncated` if its entropy-coded data are damaged.
    """
    image = WatchedJpeg(BytesIO(data))
    if draft is not None:
        image.draft(*draft)
    image.watch(data)
    image.load()
    if image.is_left_over or not _has_its_markers(image) or _has_a_hole(image, data):
        raise ImageRefused(ErrorKind.UNREADABLE, "jpeg is damaged (data are left over or missing)")
    if _ends_in_grey(image) and _changes_with_more_data(image, data, draft):
        raise ImageRefused(ErrorKind.TRUNCATED, "jpeg ends before its last pixel")
    return image


def _has_its_markers(image: WatchedJpeg) -> bool:
    """Whether the one scan of a sequential JPEG has no marker but restarts that count up modulo 8 (ITU-T T.81, B.2.1)."""
    if not image.is_watched or _START_OF_SCAN in image.codes:
        return True
    fills = np.flatnonzero(image.codes[:-1] == 0xFF)
    restarts = image.codes[(image.codes != 0) & (image.codes != 0xFF)][:-1].astype(int)
    if (image.codes[fills + 1] == 0).any() or not ((restarts >= 0xD0) & (restarts <= 0xD7)).all():
        return False
    return bool((restarts % 8 == np.arange(restarts.size) % 8).all())


def _has_a_hole(image: WatchedJpeg, data: bytes) -> bool:
    """Whether there are more zeros than the Huffman tables of a sequential JPEG can mean.

    A table gives its first symbol the code of zeros only. Unless that is the end of a block, zeros are block after
    block whose 63 coefficients are all negative, which no picture has.
    """
    if not image.is_watched or data.find(_HOLE, image.start, image.used) < 0:
        return False
    first_symbols = _first_symbols(data[: image.start])
    return bool(first_symbols) and 0 not in first_symbols


def _first_symbols(header: bytes) -> list[int]:
    """The first symbol of each Huffman table for AC coefficients (ITU-T T.81, B.2.4.2)."""
    found, at = [], header.find(b"\xff\xc4")
    while at >= 0:
        table, stop = at + 4, at + 2 + int.from_bytes(header[at + 2 : at + 4])
        while table + 17 < min(stop, len(header)):
            if header[table] >> 4 == 1:
                found.append(header[table + 17])
            table += 17 + sum(header[table + 1 : table + 17])
        at = header.find(b"\xff\xc4", max(stop, at + 2))
    return found


def _ends_in_grey(image: Image.Image) -> bool:
    """Whether the last block has the value of blocks without data, the middle of the range."""
    last_pixel = image.getpixel((image.width - 1, image.height - 1))
    values = last_pixel if isinstance(last_pixel, tuple) else (last_pixel,)
    return all(value in (127, 128) for value in values)


def _changes_with_more_data(image: WatchedJpeg, data: bytes, draft: tuple[str, tuple[int, int]] | None) -> bool:
    """Whether zeros behind the data change the picture, which they do only if the data are missing something."""
    longer = JpegImageFile(BytesIO(data[: image.end] + bytes(4096) + _END_OF_IMAGE))
    if draft is not None:
        longer.draft(*draft)
    return image.is_watched and not np.array_equal(np.asarray(image), np.asarray(longer))
