"""Decode Pixel Data of a DICOM data set, in any supported transfer syntax, to the samples as they were stored."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from cxr_ray.imaging.codestream import CodestreamHeader, read_jpeg2000_header, read_jpeg_header, unwrap_jp2
from cxr_ray.imaging.dicom_pixel_data import PixelData, encapsulated_frame, native_frame
from cxr_ray.imaging.gdcm_codec import decode_by_gdcm
from cxr_ray.imaging.jpeg2000_pixels import reduced_jpeg2000
from cxr_ray.imaging.jpeg_pixels import refuse_many_scans, whole_jpeg
from cxr_ray.imaging.limits import DecodeLimits, ErrorKind, ImageRefused
from cxr_ray.imaging.packbits import decode_rle_frame
from cxr_ray.imaging.pixel_layout import PixelLayout, read_pixel_layout

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_EXPLICIT_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_NATIVE = frozenset({"1.2.840.10008.1.2", _EXPLICIT_LITTLE_ENDIAN, _EXPLICIT_BIG_ENDIAN})
_RLE = "1.2.840.10008.1.2.5"
_JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
_JPEG_EXTENDED = "1.2.840.10008.1.2.4.51"
_JPEG_LOSSLESS = "1.2.840.10008.1.2.4.57"

# JPEG frame markers (the process of the codestream) that each transfer syntax may contain.
_JPEG_PROCESSES = {
    _JPEG_BASELINE: frozenset({0xC0, 0xC1, 0xC2}),
    _JPEG_EXTENDED: frozenset({0xC0, 0xC1, 0xC2}),
    _JPEG_LOSSLESS: frozenset({0xC3}),
    "1.2.840.10008.1.2.4.70": frozenset({0xC3}),
    "1.2.840.10008.1.2.4.80": frozenset({0xF7}),
    "1.2.840.10008.1.2.4.81": frozenset({0xF7}),
}
_JPEG_2000 = frozenset(f"1.2.840.10008.1.2.4.{suffix}" for suffix in (90, 91, 201, 202, 203))  # 20x: HTJ2K


def require_transfer_syntax(syntax: str) -> None:
    """Refuse a Transfer Syntax UID that `decode_samples` does not read.

    Raises:
        ImageRefused: `unsupported`.
    """
    if syntax not in _NATIVE and syntax not in _JPEG_PROCESSES and syntax not in _JPEG_2000 and syntax != _RLE:
        known = syntax[:64] if syntax.replace(".", "").isdigit() else "that is not a UID"
        raise ImageRefused(ErrorKind.UNSUPPORTED, f"DICOM transfer syntax {known} is not supported")


def most_reduction(dataset: Dataset, pixels: PixelData, layout: PixelLayout) -> int:
    """Maximum factor, a power of two, by which `decode_samples` can reduce an image.

    Only JPEG 2000 is reduced, and only if its codestream holds the grey samples and nothing else: other bits of a word
    would be averaged with them.

    Raises:
        ImageRefused: `unreadable`, `truncated` or `no_pixels` for a damaged codestream.
    """
    if dataset.file_meta.get("TransferSyntaxUID") not in _JPEG_2000 or not layout.photometric.startswith("MONOCHROME"):
        return 1
    header = read_jpeg2000_header(unwrap_jp2(encapsulated_frame(pixels)))
    if header.subsampled or header.is_signed != layout.is_signed or header.precision > layout.bits_stored:
        return 1
    return 1 << header.levels


def decode_samples(dataset: Dataset, pixels: PixelData, *, limits: DecodeLimits, reduction: int = 1) -> np.ndarray:
    """Decode the first frame to stored samples, without any look-up table; YBR becomes RGB.

    Args:
        dataset: data set of the file.
        pixels: its Pixel Data.
        limits: bounds on the size, checked against the headers of the data set and of the codestream before decoding.
        reduction: factor by which the image is reduced, a power of two that `most_reduction` allows.

    Returns:
        [H, W] or [H, W, 3], (u)int8 or (u)int16; at full scale also if the codestream cannot be decoded at a reduced one.

    Raises:
        ImageRefused: `too_large`, `unsupported`, `truncated` or `unreadable`.
    """
    layout = read_pixel_layout(dataset, limits)
    syntax = dataset.file_meta.get("TransferSyntaxUID") or _assumed_syntax(dataset, pixels)
    precision, is_lossy = layout.bits_allocated, False
    if syntax in _NATIVE:
        words = _native_words(dataset, _bytes_in_order(pixels, layout, syntax), layout, syntax)
    elif syntax == _RLE:
        words = _native_words(dataset, _expand_rle(pixels, layout), layout, syntax)
    else:
        words, header = _decode_codestream(encapsulated_frame(pixels), layout, syntax, reduction)
        precision, is_lossy = header.precision, header.is_lossy
        if layout.channels == 3:
            return words
    if layout.channels == 3:
        return words
    return layout.samples(words, precision=precision, is_lossy=is_lossy)


def _assumed_syntax(dataset: Dataset, pixels: PixelData) -> str:
    """Assume the transfer syntax of a data set that declares none: the encoding with which pydicom could parse it."""
    if pixels.is_undefined:
        raise ImageRefused(ErrorKind.UNSUPPORTED, "DICOM file is compressed and declares no transfer syntax")
    is_implicit, is_little_endian = dataset.original_encoding
    return "1.2.840.10008.1.2" + ("" if is_implicit else ".1" if is_little_endian else ".2")


def _native_words(dataset: Dataset, frame: memoryview | bytes, layout: PixelLayout, syntax: str) -> np.ndarray:
    """Uncompressed words [H, W], or RGB [H, W, 3]; what RLE expands to is little-endian and plane by plane."""
    is_big_endian = syntax == _EXPLICIT_BIG_ENDIAN
    if layout.channels == 1:
        words = np.frombuffer(frame, f"{'>' if is_big_endian else '<'}u{layout.bits_allocated // 8}")
        return words.astype(words.dtype.newbyteorder("="), copy=False).reshape(layout.rows, layout.columns)
    return _by_pydicom(
        bytes(frame),
        _EXPLICIT_LITTLE_ENDIAN if syntax == _RLE else syntax,
        layout,
        bits_allocated=layout.bits_allocated,
        planar_configuration=1 if syntax == _RLE else int(dataset.get("PlanarConfiguration") or 0),
    )


def _bytes_in_order(pixels: PixelData, layout: PixelLayout, syntax: str) -> memoryview | bytes:
    """The samples of the uncompressed frame; samples of 8 bits in big-endian words of 16 are put in order (PS3.5, 8.1.2)."""
    if syntax != _EXPLICIT_BIG_ENDIAN or layout.bits_allocated != 8 or pixels.vr == "OB":
        return native_frame(pixels, layout.native_bytes)
    frame = native_frame(pixels, layout.native_bytes + layout.native_bytes % 2)
    return np.frombuffer(frame, "u2").byteswap().tobytes()[: layout.native_bytes]


def _expand_rle(pixels: PixelData, layout: PixelLayout) -> bytes:
    """Expand RLE; pydicom's own decoder has no bound on the expanded size."""
    return decode_rle_frame(
        encapsulated_frame(pixels),
        pixels=layout.rows * layout.columns,
        samples_per_pixel=layout.channels,
        bytes_per_sample=layout.bits_allocated // 8,
    )


def _decode_codestream(
    codestream: bytes, layout: PixelLayout, syntax: str, reduction: int
) -> tuple[np.ndarray, CodestreamHeader]:
    """Check the codestream against the data set, and decode it at its own precision.

    Pillow's libjpeg-turbo reads 8-bit JPEG and OpenJPEG reads JPEG 2000, because both are hardened against forged
    input. GDCM is not hardened; it reads all other grey images, after their codestream was checked here.

    Returns:
        Words [H, W], or RGB [H, W, 3], and the header of the codestream.
    """
    if syntax in _JPEG_2000:
        codestream = unwrap_jp2(codestream)
        header = read_jpeg2000_header(codestream)
        _require_agreement(header, layout)
        if reduction > 1:
            with suppress(OSError, SyntaxError, ValueError):  # the decoding at full scale tells what is wrong
                return reduced_jpeg2000(codestream, header, reduction), replace(header, is_lossy=True)
        return _by_codec(codestream, syntax, layout, header, "pylibjpeg"), header
    header = read_jpeg_header(codestream)
    _require_agreement(header, layout)
    if header.process not in _JPEG_PROCESSES[syntax]:
        raise ImageRefused(
            ErrorKind.UNREADABLE,
            f"codestream uses JPEG process {header.process:#x}, which its transfer syntax does not allow",
        )
    if syntax not in (_JPEG_BASELINE, _JPEG_EXTENDED) or header.precision != 8:
        return decode_by_gdcm(codestream, header), header
    refuse_many_scans(codestream)
    try:
        if layout.channels == 1:
            return np.array(whole_jpeg(codestream)), header
        return _by_codec(codestream, _JPEG_BASELINE, layout, header, "pillow"), header
    except Image.DecompressionBombError as error:  # the plug-in of pydicom that uses Pillow keeps Pillow's own limit
        raise ImageRefused(ErrorKind.TOO_LARGE, "JPEG in DICOM has more pixels than Pillow allows") from error


def _require_agreement(header: CodestreamHeader, layout: PixelLayout) -> None:
    claimed = (layout.columns, layout.rows, layout.channels)
    found = (header.width, header.height, header.components)
    if found != claimed or header.precision > layout.bits_allocated:
        raise ImageRefused(
            ErrorKind.UNREADABLE,
            f"codestream has {header.width}x{header.height}x{header.components} samples of "
            f"{header.precision} bits; the DICOM header claims "
            f"{claimed[0]}x{claimed[1]}x{claimed[2]} of {layout.bits_allocated} bits",
        )


def _by_codec(codestream: bytes, syntax: str, layout: PixelLayout, header: CodestreamHeader, plugin: str) -> np.ndarray:
    """Decode by a plug-in of pydicom, which is told the precision of the codestream, not the claims of the file."""
    from pydicom.encaps import encapsulate

    return _by_pydicom(
        encapsulate([codestream]),
        syntax,
        layout,
        bits_allocated=8 if header.precision <= 8 else 16,
        bits_stored=header.precision,
        is_signed=header.is_signed,
        plugin=plugin,
    )


def _by_pydicom(
    source: bytes,
    syntax: str,
    layout: PixelLayout,
    *,
    bits_allocated: int,
    bits_stored: int | None = None,
    is_signed: bool = False,
    planar_configuration: int = 0,
    plugin: str = "",
) -> np.ndarray:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    options: Any = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.channels,
        "bits_allocated": bits_allocated,
        "bits_stored": bits_allocated if bits_stored is None else bits_stored,
        "pixel_representation": int(is_signed),
        "photometric_interpretation": layout.photometric,
        "planar_configuration": planar_configuration,
        "pixel_keyword": "PixelData",
        "pixel_vr": "OB",
    }
    words, _ = get_decoder(UID(syntax)).as_array(source, index=0, decoding_plugin=plugin, **options)
    return words
