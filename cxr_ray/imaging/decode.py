"""Decode any bytes to grey pixels or to an error kind; no exception of a decoder leaves this file."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_ray.archive.recognise import HEAD_BYTES, recognise_format
from cxr_ray.imaging.dicom import DicomTags, decode_dicom, read_dicom, read_tags
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
            JPEG or DICOM image is reduced to 1/2, 1/4 or 1/8 scale if both sides stay at least twice `wanted_size` and
            at least 448 pixels, so that the antialiased resize afterwards still determines the pixels.
    """
    return decode_for_sizes(data, (wanted_size,), limits=limits)[0]


def decode_for_sizes(
    data: bytes, wanted_sizes: Sequence[int | None], *, limits: DecodeLimits = DEFAULT_LIMITS
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
    format_name = recognise_format(data[:HEAD_BYTES])
    try:
        return _decode(data, format_name, limits, wanted_sizes)
    except Exception as error:  # noqa: BLE001 - whatever a decoder raises for forged bytes becomes an error row, never a crash
        return (_refused(format_name, error),) * len(wanted_sizes)


def _decode(
    data: bytes, format_name: str | None, limits: DecodeLimits, wanted_sizes: Sequence[int | None]
) -> tuple[DecodedImage, ...]:
    if not data:
        raise ImageRefused(ErrorKind.EMPTY, "file has 0 bytes")
    limits.check_file(len(data))
    if format_name == "dicom":
        return _decode_dicom(data, limits, wanted_sizes)
    if format_name not in RASTER_FORMATS:
        raise ImageRefused(
            ErrorKind.UNSUPPORTED,
            f"format {format_name or 'unknown'} is not supported; dicom, {', '.join(RASTER_FORMATS)} are read",
        )
    found: dict[int, DecodedImage] = {}
    images = []
    for size in wanted_sizes:
        reduction = _reduction(format_name, next(iter(found.values()), None), size)
        if reduction not in found:
            raster = decode_raster(data, format_name, limits=limits, wanted_size=size)
            image = DecodedImage(pixels=raster.pixels, format=format_name, width=raster.width, height=raster.height)
            reduction = _reduction(format_name, image, size)
            found[reduction] = image
        images.append(found[reduction])
    return tuple(images)


def _reduction(format_name: str, image: DecodedImage | None, wanted_size: int | None) -> int:
    """The factor by which a raster file of this size is reduced; 0 before its size is known."""
    if image is None or image.width is None or image.height is None:
        return 0
    return 1 if wanted_size is None else RASTER_FORMATS[format_name].reduction(image.width, image.height, wanted_size)


def _decode_dicom(data: bytes, limits: DecodeLimits, wanted_sizes: Sequence[int | None]) -> tuple[DecodedImage, ...]:
    file = read_dicom(data)
    tags = read_tags(file.dataset)
    try:
        scales = decode_dicom(file, limits=limits, wanted_sizes=wanted_sizes)
    except Exception as error:  # noqa: BLE001 - as in `decode_for_sizes`; the tags are kept
        return (_refused("dicom", error, tags),) * len(wanted_sizes)
    height, width = int(file.dataset.Rows), int(file.dataset.Columns)
    images = {
        id(pixels): DecodedImage(pixels=pixels, format="dicom", width=width, height=height, dicom=tags)
        for pixels in scales
    }
    return tuple(images[id(pixels)] for pixels in scales)


def _refused(format_name: str | None, error: Exception, tags: DicomTags | None = None) -> DecodedImage:
    """The result of a failure. Messages of decoders are left out: those of pydicom quote values, which may be data of the patient."""
    if isinstance(error, ImageRefused):
        kind, message = error.kind, str(error)
    elif isinstance(error, MemoryError):
        kind, message = ErrorKind.TOO_LARGE, "too little memory to decode the image"
    else:
        kind, message = ErrorKind.UNREADABLE, f"{format_name} cannot be decoded ({type(error).__name__})"
    return DecodedImage(format=format_name, error_kind=kind.value, error=message, dicom=tags)
