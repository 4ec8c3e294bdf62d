"""Decode any bytes to grey pixels or to an error kind; no exception of a decoder leaves this file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_ray.archive.recognise import HEAD_BYTES, recognise_format
from cxr_ray.imaging.dicom import DicomTags, decode_dicom, dicom_reduction, read_dicom, read_tags
from cxr_ray.imaging.limits import DecodeLimits, ErrorKind, ImageRefused
from cxr_ray.imaging.raster import RASTER_FORMATS, decode_raster

DEFAULT_LIMITS = DecodeLimits()


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImage:
    """Result of decoding an image file: pixels or an error; exactly one of `pixels` and `error_kind` is not None.

    Attributes:
        pixels: uint8 [H, W], low = dark; smaller than the image if `wanted_size` allowed a reduced scale.
        format: format recognised from the content, such as `png`; None if it is unknown.
        width: width in pixels of the displayed image (after its EXIF orientation), at full scale.
        height: height in pixels of the displayed image (after its EXIF orientation), at full scale.
        error_kind: a value of `ErrorKind`.
        error: reason of the failure in one line, without any data of the patient.
        dicom: tags of a DICOM file, also if its pixels are refused; None for other formats.
    """

    pixels: np.ndarray | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    error_kind: str | None = None
    error: str | None = None
    dicom: DicomTags | None = None


def decode_image(data: bytes, *, limits: DecodeLimits = DEFAULT_LIMITS, wanted_size: int | None = None) -> DecodedImage:
    """Decode one image file; bad content of `data` never raises, it gives an error kind.

    Args:
        data: bytes of a whole file; DICOM and the formats of `RASTER_FORMATS` are read.
        limits: bounds on the size, checked against the file's headers before any pixel is decoded.
        wanted_size: height and width in pixels to which the caller will resize the image; None means full scale. A
            JPEG, or a JPEG 2000 in a DICOM file with a window, is decoded at 1/2, 1/4 or 1/8 scale if both sides stay
            at least twice `wanted_size` and at least 448 pixels, so that the antialiased resize afterwards still
            determines the pixels.
    """
    format_name = recognise_format(data[:HEAD_BYTES])
    try:
        return _decode(data, format_name, limits, wanted_size)
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises for forged bytes becomes an error row, never a crash
        return _refused(format_name, error)


def decode_for_sizes(
    data: bytes, wanted_sizes: Sequence[int], *, limits: DecodeLimits = DEFAULT_LIMITS
) -> tuple[DecodedImage, ...]:
    """Decode one image file for several sizes, once for all sizes that need the same scale.

    The pixels for a size do not depend on the other sizes. If one decoding fails, every result is that failure.

    Args:
        data: bytes of a whole file.
        wanted_sizes: at least one value of `wanted_size`, as `decode_image` takes it.
        limits: bounds on the size, checked against the file's headers before any pixel is decoded.

    Returns:
        One result for each of `wanted_sizes`, in order.
    """
    first = decode_image(data, limits=limits, wanted_size=wanted_sizes[0])
    if first.pixels is None or len(set(wanted_sizes)) == 1:
        return (first,) * len(wanted_sizes)
    reductions = _reductions(data, first, wanted_sizes, limits)
    found = {reductions[0]: first}
    for size, reduction in zip(wanted_sizes, reductions, strict=True):
        if reduction not in found:
            found[reduction] = decode_image(data, limits=limits, wanted_size=size)
    failures = [image for image in found.values() if image.pixels is None]
    return (failures[0],) * len(wanted_sizes) if failures else tuple(found[reduction] for reduction in reductions)


def _reductions(data: bytes, first: DecodedImage, wanted_sizes: Sequence[int], limits: DecodeLimits) -> list[int]:
    """The factor by which the image is reduced for each of several sizes, of which the first could be decoded."""
    if first.format == "dicom":
        file = read_dicom(data)
        return [dicom_reduction(file, size, limits=limits) for size in wanted_sizes]
    reduction = RASTER_FORMATS[first.format or ""].reduction
    return [reduction(first.width or 0, first.height or 0, size) for size in wanted_sizes]


def _decode(data: bytes, format_name: str | None, limits: DecodeLimits, wanted_size: int | None) -> DecodedImage:
    if not data:
        raise ImageRefused(ErrorKind.EMPTY, "file has 0 bytes")
    limits.check_file(len(data))
    if format_name == "dicom":
        return _decode_dicom(data, limits, wanted_size)
    if format_name not in RASTER_FORMATS:
        raise ImageRefused(
            ErrorKind.UNSUPPORTED,
            f"format {format_name or 'unknown'} is not supported; dicom, {', '.join(RASTER_FORMATS)} are read",
        )
    raster = decode_raster(data, format_name, limits=limits, wanted_size=wanted_size)
    return DecodedImage(pixels=raster.pixels, format=format_name, width=raster.width, height=raster.height)


def _decode_dicom(data: bytes, limits: DecodeLimits, wanted_size: int | None) -> DecodedImage:
    file = read_dicom(data)
    tags = read_tags(file.dataset)
    try:
        pixels = decode_dicom(file, limits=limits, wanted_size=wanted_size)
    except Exception as error:  # noqa: BLE001 - as in `decode_image`; the tags are kept
        return _refused("dicom", error, tags)
    height, width = int(file.dataset.Rows), int(file.dataset.Columns)
    return DecodedImage(pixels=pixels, format="dicom", width=width, height=height, dicom=tags)


def _refused(format_name: str | None, error: Exception, tags: DicomTags | None = None) -> DecodedImage:
    """The result of a failure. Messages of decoders are left out: those of pydicom quote values, which may be data of the patient."""
    if isinstance(error, ImageRefused):
        kind, message = error.kind, str(error)
    elif isinstance(error, MemoryError):
        kind, message = ErrorKind.TOO_LARGE, "too little memory to decode the image"
    else:
        kind, message = ErrorKind.UNREADABLE, f"{format_name} cannot be decoded ({type(error).__name__})"
    return DecodedImage(format=format_name, error_kind=kind.value, error=message, dicom=tags)
