"""Find Pixel Data in a DICOM file, and whether all of it is there; nothing behind it matters."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from cxr_ray.imaging.limits import ErrorKind, ImageRefused

UNDEFINED_LENGTH = 0xFFFFFFFF
_ITEM, _END_OF_SEQUENCE = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_CODESTREAMS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")  # JPEG, JPEG 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelData:
    """Value of the element Pixel Data.

    Attributes:
        value: its bytes; of an element of undefined length, the bytes from its start to the end of the file.
        is_undefined: whether the element has no length but a delimiter.
        vr: value representation, `OB` or `OW`; None where it is implicit.
    """

    value: memoryview = field(repr=False)
    is_undefined: bool = False
    vr: str | None = None


def pixel_data_at(data: bytes, start: int, length: int, vr: str | None = None) -> PixelData:
    """Cut the value of Pixel Data out of a file.

    Args:
        data: bytes of the file.
        start: offset of the first byte of the value.
        length: length that the element claims, or `UNDEFINED_LENGTH`.
        vr: value representation of the element.

    Raises:
        ImageRefused: `truncated` if the file ends within the value.
    """
    is_undefined = length == UNDEFINED_LENGTH
    if not is_undefined and start + length > len(data):
        raise ends_early()
    stop = len(data) if is_undefined else start + length
    return PixelData(value=memoryview(data)[start:stop], is_undefined=is_undefined, vr=vr)


def native_frame(pixels: PixelData, size: int) -> memoryview:
    """The samples of the one uncompressed frame, of `size` bytes; what follows is padding.

    Raises:
        ImageRefused: `truncated` if there are fewer bytes, `unreadable` if they are compressed.
    """
    if _looks_encapsulated(pixels, size):
        raise ImageRefused(ErrorKind.UNREADABLE, "Pixel Data is compressed; the transfer syntax says it is not")
    if len(pixels.value) < size:
        raise ImageRefused(
            ErrorKind.TRUNCATED, f"Pixel Data has {len(pixels.value)} bytes; the DICOM header claims {size}"
        )
    return pixels.value[:size]


def encapsulated_frame(pixels: PixelData) -> bytes:
    """Join all fragments of the one compressed frame, whatever the offset table says (PS3.5, A.4).

    Raises:
        ImageRefused: `truncated` if a fragment or the delimiter is missing, `unreadable` if there are no fragments.
    """
    value, position = pixels.value, 0
    fragments: list[memoryview] = []
    while True:
        if not pixels.is_undefined and position >= len(value):
            break
        if position + 8 > len(value):
            raise ends_early()
        tag = bytes(value[position : position + 4])
        if tag == _END_OF_SEQUENCE:
            break
        if tag != _ITEM:
            raise ImageRefused(ErrorKind.UNREADABLE, "Pixel Data is not divided into fragments")
        (length,) = struct.unpack_from("<L", value, position + 4)
        position += 8
        if length > len(value) - position:
            raise ends_early()
        fragments.append(value[position : position + length])
        position += length
    has_table = not (fragments and bytes(fragments[0][:4]).startswith(_CODESTREAMS))
    frame = b"".join(fragments[has_table:])
    if not frame:
        raise ImageRefused(ErrorKind.NO_PIXELS, "Pixel Data of the DICOM file has no fragments")
    return frame


def ends_early() -> ImageRefused:
    """The refusal of a file that ends too early."""
    return ImageRefused(ErrorKind.TRUNCATED, "DICOM file ends within an element")


def _looks_encapsulated(pixels: PixelData, size: int) -> bool:
    """Whether the value begins with an item, and the item is followed by another one, as in compressed Pixel Data."""
    head = bytes(pixels.value[:8])
    if len(head) < 8 or head[:4] != _ITEM or (len(pixels.value) in (size, size + 1) and not pixels.is_undefined):
        return False
    after = 8 + int.from_bytes(head[4:], "little")
    return bytes(pixels.value[after : after + 4]) in (_ITEM, _END_OF_SEQUENCE)
