"""Decode Pixel Data of a DICOM data set, in any supported transfer syntax, to the samples as they were stored."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from PIL import Image

from cxr_ray.imaging.codestream import (
    CodestreamHeader,
    read_jpeg2000_header,
    read_jpeg_header,
    strip_jpeg_annotations,
)
from cxr_ray.imaging.limits import DecodeLimits, ErrorKind, ImageRefused
from cxr_ray.imaging.packbits import decode_rle_frame

if TYPE_CHECKING:
    import numpy as np
    from pydicom.dataset import FileDataset

_EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
_NATIVE = frozenset({"1.2.840.10008.1.2", _EXPLICIT_LITTLE_ENDIAN, "1.2.840.10008.1.2.2"})
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

_REQUIRED = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")
_PHOTOMETRIC_INTERPRETATIONS = {
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
}


def require_transfer_syntax(syntax: str) -> None:
    """Refuse a Transfer Syntax UID that `decode_samples` does not read.

    Raises:
        ImageRefused: `unsupported`.
    """
    if syntax not in _NATIVE and syntax not in _JPEG_PROCESSES and syntax not in _JPEG_2000 and syntax != _RLE:
        known = syntax[:64] if syntax.replace(".", "").isdigit() else "that is not a UID"
        raise ImageRefused(ErrorKind.UNSUPPORTED, f"DICOM transfer syntax {known} is not supported")


def decode_samples(dataset: FileDataset, *, limits: DecodeLimits) -> np.ndarray:
    """Decode the first frame to stored samples, without any look-up table; YBR becomes RGB.

    Args:
        dataset: data set with Pixel Data; its Pixel Data and transfer syntax are changed in place.
        limits: bounds on the size, checked against the headers of the data set and of the codestream before decoding.

    Returns:
        [H, W] or [H, W, 3], (u)int8 or (u)int16.

    Raises:
        ImageRefused: `too_large`, `unsupported`, `truncated` or `unreadable`.
    """
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    _check_layout(dataset, limits)
    syntax = dataset.file_meta.get("TransferSyntaxUID") or _assumed_syntax(dataset)
    plugin = ""  # native samples need no plug-in
    if syntax == _RLE:
        syntax = _expand_rle(dataset)
    elif syntax not in _NATIVE:
        syntax, plugin = _choose_decoder(dataset, syntax)
    if syntax in _NATIVE:
        _require_all_samples(dataset)
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    try:
        samples, _ = get_decoder(UID(syntax)).as_array(dataset, index=0, decoding_plugin=plugin)
    except Image.DecompressionBombError as error:  # the plug-in of pydicom that uses Pillow keeps Pillow's own limit
        raise ImageRefused(ErrorKind.TOO_LARGE, "JPEG in DICOM has more pixels than Pillow allows") from error
    return samples


def _check_layout(dataset: FileDataset, limits: DecodeLimits) -> None:
    missing = [keyword for keyword in _REQUIRED if dataset.get(keyword) is None]
    if missing:
        raise ImageRefused(ErrorKind.UNREADABLE, f"DICOM file has no {', '.join(missing)}")
    bits_allocated = int(dataset.BitsAllocated)
    samples_per_pixel = int(dataset.get("SamplesPerPixel") or 1)
    limits.check_samples(
        width=int(dataset.Columns),
        height=int(dataset.Rows),
        channels=samples_per_pixel,
        bytes_per_sample=math.ceil(bits_allocated / 8),
    )
    if bits_allocated not in (8, 16):
        raise ImageRefused(
            ErrorKind.UNSUPPORTED, f"DICOM file has {bits_allocated} bits per sample; only 8 or 16 are supported"
        )
    if dataset.PhotometricInterpretation not in _PHOTOMETRIC_INTERPRETATIONS.get(samples_per_pixel, ()):
        raise ImageRefused(
            ErrorKind.UNSUPPORTED,
            f"photometric interpretation with {samples_per_pixel} samples per pixel is not supported",
        )


def _assumed_syntax(dataset: FileDataset) -> str:
    """Assume the transfer syntax of a data set that declares none: the encoding with which pydicom could parse it."""
    if dataset["PixelData"].is_undefined_length:
        raise ImageRefused(ErrorKind.UNSUPPORTED, "DICOM file is compressed and declares no transfer syntax")
    is_implicit, is_little_endian = dataset.original_encoding
    return "1.2.840.10008.1.2" + ("" if is_implicit else ".1" if is_little_endian else ".2")


def _require_all_samples(dataset: FileDataset) -> None:
    expected = dataset.Rows * dataset.Columns * (dataset.get("SamplesPerPixel") or 1) * dataset.BitsAllocated // 8
    if dataset.PhotometricInterpretation == "YBR_FULL_422":
        expected = expected * 2 // 3
    if len(dataset.PixelData) < expected:
        raise ImageRefused(
            ErrorKind.TRUNCATED,
            f"Pixel Data has {len(dataset.PixelData)} bytes; the DICOM header claims {expected}",
        )


def _expand_rle(dataset: FileDataset) -> str:
    """Expand RLE in place and return the new transfer syntax; pydicom's own decoder has no bound on the expanded size."""
    dataset.PixelData = decode_rle_frame(
        _frame(dataset),
        pixels=dataset.Rows * dataset.Columns,
        samples_per_pixel=dataset.get("SamplesPerPixel") or 1,
        bytes_per_sample=dataset.BitsAllocated // 8,
    )
    dataset["PixelData"].is_undefined_length = False
    dataset.PlanarConfiguration = 1
    return _EXPLICIT_LITTLE_ENDIAN


def _frame(dataset: FileDataset) -> bytes:
    from pydicom.encaps import get_frame

    return get_frame(dataset.PixelData, 0, number_of_frames=1)


def _choose_decoder(dataset: FileDataset, syntax: str) -> tuple[str, str]:
    """Check the codestream against the data set, and choose a decoder for it.

    Pillow's libjpeg-turbo reads 8-bit JPEG and OpenJPEG reads JPEG 2000, because both are hardened against forged
    input. GDCM is not hardened; it reads all other grey images, after their codestream was checked here.

    Returns:
        The transfer syntax of the pydicom decoder to use, and the name of its plug-in.
    """
    if syntax in _JPEG_2000:
        _require_agreement(read_jpeg2000_header(_frame(dataset)), dataset)
        return syntax, "pylibjpeg"
    header = read_jpeg_header(_frame(dataset))
    _require_agreement(header, dataset)
    if header.process not in _JPEG_PROCESSES[syntax]:
        raise ImageRefused(
            ErrorKind.UNREADABLE,
            f"codestream uses JPEG process {header.process:#x}, which its transfer syntax does not allow",
        )
    if syntax in (_JPEG_BASELINE, _JPEG_EXTENDED) and header.precision == 8:
        return _JPEG_BASELINE, "pillow"
    _prepare_for_gdcm(dataset, header)
    # pydicom does not pass 12-bit JPEG to GDCM under its own UID; GDCM reads it, because it follows the codestream.
    return (_JPEG_LOSSLESS if syntax == _JPEG_EXTENDED else syntax), "gdcm"


def _require_agreement(header: CodestreamHeader, dataset: FileDataset) -> None:
    claimed = (dataset.Columns, dataset.Rows, dataset.get("SamplesPerPixel") or 1)
    found = (header.width, header.height, header.components)
    if found != claimed or header.precision > dataset.BitsAllocated:
        raise ImageRefused(
            ErrorKind.UNREADABLE,
            f"codestream has {header.width}x{header.height}x{header.components} samples of "
            f"{header.precision} bits; the DICOM header claims "
            f"{claimed[0]}x{claimed[1]}x{claimed[2]} of {dataset.BitsAllocated} bits",
        )


def _prepare_for_gdcm(dataset: FileDataset, header: CodestreamHeader) -> None:
    """Remove everything from the codestream's header that libjpeg warns about, because GDCM turns a warning into an abort."""
    import gdcm
    from pydicom.encaps import encapsulate

    if header.components != 1:
        raise ImageRefused(ErrorKind.UNSUPPORTED, "colour in lossless JPEG or JPEG-LS is not supported")
    if header.process == 0xC2 or header.subsampled or (header.precision > 8) != (dataset.BitsAllocated > 8):
        raise ImageRefused(ErrorKind.UNREADABLE, "frame header of the codestream breaks the rules of DICOM")
    dataset.PixelData = encapsulate([strip_jpeg_annotations(_frame(dataset))])
    dataset["PixelData"].is_undefined_length = True
    gdcm.Trace.WarningOff()  # GDCM's warnings go directly to the terminal, past every logger
    gdcm.Trace.ErrorOff()
