"""Headers of the JPEG, JPEG-LS and JPEG 2000 codestreams that DICOM encapsulates.

A DICOM file whose header claims 10x10 pixels may contain a codestream of 30000x30000, and native decoders trust the
codestream. Therefore the header of the codestream is read and checked here, before a decoder reads it.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from cxr_ray.imaging.limits import ErrorKind, ImageRefused

_START_OF_SCAN = 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xF7}  # baseline, extended, progressive, lossless; JPEG-LS
_ANNOTATIONS = {*range(0xE0, 0xF0), 0xFE}  # APPn, COM
_SEGMENTS = {_START_OF_SCAN, *_FRAMES, *_ANNOTATIONS, 0xC4, 0xDB, 0xDD, 0xF8}  # the last four: DHT, DQT, DRI, LSE


@dataclass(frozen=True, kw_only=True, slots=True)
class CodestreamHeader:
    """Size and sample format that a codestream declares in its header.

    Attributes:
        width: width in pixels.
        height: height in pixels.
        components: number of samples per pixel.
        precision: number of bits per sample.
        process: low byte of the JPEG frame marker (0xC0 baseline, 0xC3 lossless, 0xF7 JPEG-LS);
            None for JPEG 2000.
        subsampled: True if any component is stored at less than full resolution.
    """

    width: int
    height: int
    components: int
    precision: int
    process: int | None = None
    subsampled: bool = False


def read_jpeg_header(codestream: bytes) -> CodestreamHeader:
    """Read the frame header of a JPEG (ITU-T T.81, B.2.2) or JPEG-LS (T.87, C.2.2) codestream.

    Raises:
        ImageRefused: if there is no scan, not exactly one frame header before it, or there are bytes between segments.
    """
    if codestream[:2] != b"\xff\xd8":
        raise ImageRefused(ErrorKind.UNREADABLE, "codestream is not a JPEG")
    headers = [
        _frame_header(codestream[start + 4 : stop], marker)
        for marker, start, stop in _segments(codestream)
        if marker in _FRAMES
    ]
    if len(headers) != 1:
        raise ImageRefused(
            ErrorKind.UNREADABLE, f"JPEG codestream has {len(headers)} frame headers; exactly one is allowed"
        )
    return headers[0]


def read_jpeg2000_header(codestream: bytes) -> CodestreamHeader:
    """Read the SIZ segment of a JPEG 2000 codestream (ITU-T T.800, A.5.1).

    Raises:
        ImageRefused: if the codestream is truncated, has no SIZ segment, or is wrapped in the boxes of a JP2 file.
    """
    if codestream[:4] != b"\xff\x4f\xff\x51":
        raise ImageRefused(ErrorKind.UNREADABLE, "codestream is not a JPEG 2000 (JP2 boxes are not allowed in DICOM)")
    if len(codestream) < 42:
        raise ImageRefused(ErrorKind.TRUNCATED, "JPEG 2000 codestream ends in its header")
    right, bottom, left, top = struct.unpack_from(">4I", codestream, 8)
    (components,) = struct.unpack_from(">H", codestream, 40)
    layout = codestream[42 : 42 + 3 * components]
    if components < 1 or len(layout) < 3 * components:
        raise ImageRefused(ErrorKind.TRUNCATED, "JPEG 2000 codestream ends in its header")
    return CodestreamHeader(
        width=right - left,
        height=bottom - top,
        components=components,
        precision=max((depth & 0x7F) + 1 for depth in layout[::3]),
        subsampled=any(step != 1 for step in layout[1::3] + layout[2::3]),
    )


def strip_jpeg_annotations(codestream: bytes) -> bytes:
    """Remove the application data and the comments of a JPEG whose header `read_jpeg_header` accepts.

    The rest suffices to decode a grey image; a colour image may need the removed data.
    """
    kept = [codestream[:2]]
    for marker, start, stop in _segments(codestream):
        if marker == _START_OF_SCAN:
            kept.append(codestream[start:])
        elif marker not in _ANNOTATIONS:
            kept.append(codestream[start:stop])
    return b"".join(kept)


def _segments(codestream: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield the low byte of the marker, the start and the stop of each segment, up to the one that starts the first scan."""
    marker, stop = 0, 2
    while marker != _START_OF_SCAN:
        start = stop
        if len(codestream) < start + 4:
            raise ImageRefused(ErrorKind.TRUNCATED, "JPEG codestream ends in its header")
        prefix, marker, length = struct.unpack_from(">BBH", codestream, start)
        if prefix != 0xFF or marker not in _SEGMENTS or length < 2:
            raise ImageRefused(ErrorKind.UNREADABLE, "JPEG codestream has a damaged header")
        stop = start + 2 + length
        yield marker, start, stop


def _frame_header(segment: bytes, marker: int) -> CodestreamHeader:
    if len(segment) < 9 or len(segment) != 6 + 3 * segment[5]:
        raise ImageRefused(ErrorKind.UNREADABLE, "JPEG codestream has a damaged frame header")
    precision, height, width, components = struct.unpack_from(">BHHB", segment)
    return CodestreamHeader(
        width=width,
        height=height,
        components=components,
        precision=precision,
        process=marker,
        subsampled=any(factors != 0x11 for factors in segment[7::3]),
    )
