"""Decode lossless JPEG, JPEG-LS and 12-bit JPEG by GDCM, which is not hardened against forged or damaged codestreams."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_ray.imaging.codestream import CodestreamHeader, strip_jpeg_annotations, with_precision
from cxr_ray.imaging.limits import ErrorKind, ImageRefused

if TYPE_CHECKING:
    from io import BufferedRandom

_JPEG_LS, _LOSSLESS = 0xF7, 0xC3
_SYNTAXES = {_JPEG_LS: "1.2.840.10008.1.2.4.80"}
_ANY_JPEG = "1.2.840.10008.1.2.4.57"
"""pydicom does not pass 12-bit JPEG to GDCM under its own UID; GDCM reads it, because it follows the codestream."""

_LIBJPEG_MESSAGE = re.compile(
    rb"(Application transferred|Arithmetic table|Bogus|CCIR601|Cannot|Component index|Corrupt JPEG data|DCT|Didn't expect"
    rb"|Empty|Failed|Fractional|Huffman|IDCT|Image too|Improper|Inconsistent|Input file|Insufficient|Invalid|Maximum"
    rb"|Missing|Not a JPEG|Premature end|Quantization table|Read|Requested|Sampling factors|Scan script|Seek|Selected"
    rb"|Sorry|Suspension|Too many|Unknown|Unsupported|Virtual array|Warning|Write|Wrong JPEG)"
)
_DAMAGE = re.compile(rb"Corrupt JPEG data|Premature end|Inconsistent progression")
_LEFT_OVER = re.compile(rb"Corrupt JPEG data: (\d+) extraneous bytes before marker")
_STDERR = 2
_one_at_a_time = threading.Lock()


def decode_by_gdcm(codestream: bytes, header: CodestreamHeader) -> np.ndarray:
    """Decode one grey image, given the precision of its own codestream and never that of the file.

    Returns:
        uint8 or uint16 [H, W]: unsigned words of `header.precision` bits.

    Raises:
        ImageRefused: `unsupported` for colour and for JPEG-LS below 8 bits, `unreadable` or `truncated` for a
            codestream that breaks the rules of DICOM or ends early.
    """
    import gdcm
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    if header.components != 1:
        raise ImageRefused(ErrorKind.UNSUPPORTED, "colour in lossless JPEG or JPEG-LS is not supported")
    is_narrow = header.precision < 8
    is_sequential = header.process in (0xC0, 0xC1)
    allowed = (12,) if is_sequential else range(2, 17)
    if header.process == 0xC2 or header.subsampled or header.precision not in allowed:
        raise ImageRefused(ErrorKind.UNREADABLE, "frame header of the codestream breaks the rules of DICOM")
    if is_narrow and header.process == _JPEG_LS:
        raise ImageRefused(ErrorKind.UNSUPPORTED, f"JPEG-LS of {header.precision} bits is not supported")
    # libjpeg warns of annotations, and GDCM turns its warning into an abort; below 8 bits, GDCM aborts in any case.
    plain = strip_jpeg_annotations(codestream)
    precision = 8 if is_narrow else header.precision
    if is_narrow:
        plain = with_precision(plain, precision)
    gdcm.Trace.WarningOff()  # GDCM's warnings go directly to the terminal, past every logger
    gdcm.Trace.ErrorOff()
    syntax = UID(_SYNTAXES.get(header.process or 0, _ANY_JPEG))
    options: Any = {
        "rows": header.height,
        "columns": header.width,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "bits_allocated": 8 if precision <= 8 else 16,
        "bits_stored": precision,
        "pixel_representation": 0,
        "photometric_interpretation": "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
    with _libjpeg_warnings_refused(_padding_bytes(plain)):
        words, _ = get_decoder(syntax).as_array(encapsulate([plain]), index=0, decoding_plugin="gdcm", **options)
    found: np.ndarray = words - np.uint8(128 - 2 ** (header.precision - 1)) if is_narrow else words
    return found


@contextmanager
def _libjpeg_warnings_refused(padding_bytes: int = 0) -> Iterator[None]:
    """Refuse an image about which the libjpeg of GDCM warns; it can only write its warnings to the file descriptor 2.

    That `padding_bytes` are left over at the end is no damage.
    Meanwhile whatever else is written there is held back and follows afterwards.
    """
    with _one_at_a_time:
        try:
            before = os.dup(_STDERR)
        except OSError:  # the process has no stderr
            yield
            return
        with os.fdopen(os.memfd_create("stderr"), "w+b") as held:
            os.dup2(held.fileno(), _STDERR)
            try:
                yield
            finally:
                os.dup2(before, _STDERR)
                os.close(before)
                warnings = _take_warnings(held)
    serious = [line for line in warnings if _DAMAGE.match(line)]
    left_over = [found for line in serious if (found := _LEFT_OVER.match(line))]
    if left_over and len(serious) == 1 and int(left_over[0][1]) <= padding_bytes:
        return
    if any(b"remature end" in line for line in serious):
        raise ImageRefused(ErrorKind.TRUNCATED, "JPEG codestream ends before its last pixel")
    if serious:
        raise ImageRefused(ErrorKind.UNREADABLE, "JPEG codestream is damaged")


def _take_warnings(held: BufferedRandom) -> list[bytes]:
    """Lines of libjpeg in what was held back; all other lines go to stderr."""
    held.seek(0)
    written = held.read()
    if not written:
        return []
    lines = written.splitlines(keepends=True)
    others = b"".join(line for line in lines if not _LIBJPEG_MESSAGE.match(line))
    if others:
        os.write(_STDERR, others)
    return [line for line in lines if _LIBJPEG_MESSAGE.match(line)]


def _padding_bytes(codestream: bytes) -> int:
    """Number of zeros and fill bytes between the entropy-coded data and the end marker."""
    data = codestream[: max(0, codestream.rfind(b"\xff\xd9"))]
    return len(data) - len(data.rstrip(b"\0\xff"))
