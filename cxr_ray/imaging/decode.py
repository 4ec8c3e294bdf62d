"""Any bytes to grey pixels or to an error kind: the one fence around an image's decoding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cxr_ray.archive.recognise import HEAD_BYTES, recognise_format
from cxr_ray.imaging.dicom import DicomTags, decode_dicom, read_dataset, read_tags
from cxr_ray.imaging.limits import DecodeLimits, ErrorKind, ImageRefused
from cxr_ray.imaging.raster import RASTER_FORMATS, decode_raster

DEFAULT_LIMITS = DecodeLimits()


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodedImage:
    """Pixels, or why there are none: exactly one of `pixels` and `error_kind` is set.

    Attributes:
        pixels: uint8 [H, W], low = dark; at reduced scale where `wanted_size` allowed it.
        format: by content, None where it is not known.
        width: of the image as displayed (after its EXIF orientation) at full scale.
        height: likewise.
        error_kind: a value of `ErrorKind`.
        error: one line that quotes no patient's data.
        dicom: tags of a DICOM file, also where its pixels are refused.
    """

    pixels: np.ndarray | None = None
    format: str | None = None
    width: int | None = None
    height: int | None = None
    error_kind: str | None = None
    error: str | None = None
    dicom: DicomTags | None = None


def decode_image(data: bytes, *, limits: DecodeLimits = DEFAULT_LIMITS, wanted_size: int | None = None) -> DecodedImage:
    """Decode one image file. Nothing is ever raised for what `data` holds.

    Args:
        data: a whole file; DICOM and the formats of `RASTER_FORMATS` are read.
        limits: on size, checked against headers before pixels are decoded.
        wanted_size: the caller will resize to `wanted_size` x `wanted_size`. JPEGs are then decoded at 1/2,
            1/4 or 1/8 scale as long as both sides stay at least twice as large (and 448 pixels), so that the
            antialiased resize that follows still has its say.
    """
    format_name = recognise_format(data[:HEAD_BYTES])
    try:
        return _decode(data, format_name, limits, wanted_size)
    except ImageRefused as refusal:
        return _refused(format_name, refusal)
    except MemoryError:
        return _refused(format_name, ImageRefused(ErrorKind.TOO_LARGE, "too little memory to decode the image"))
    except Exception as error:  # noqa: BLE001 - whatever a decoder makes of forged bytes becomes a row, never a crash
        # The exception's own message is left out: pydicom's quote values, and values may be a patient's.
        message = f"{format_name} cannot be decoded ({type(error).__name__})"
        return _refused(format_name, ImageRefused(ErrorKind.UNREADABLE, message))


def decode_for_sizes(
    data: bytes, wanted_sizes: Sequence[int], *, limits: DecodeLimits = DEFAULT_LIMITS
) -> tuple[DecodedImage, ...]:
    """`decode_image` for each of several sizes, decoded once for all those that want the same scale.

    No size's pixels depend on which others are wanted beside it. Where one decoding fails, all are its failure.

    Args:
        data: a whole file.
        wanted_sizes: see `decode_image`.
        limits: likewise.
    """
    first = decode_image(data, limits=limits, wanted_size=wanted_sizes[0])
    raster_format = RASTER_FORMATS.get(first.format or "")
    if raster_format is None or first.pixels is None or first.width is None or first.height is None:
        return (first,) * len(wanted_sizes)
    reductions = [raster_format.reduction(first.width, first.height, size) for size in wanted_sizes]
    found = {reductions[0]: first}
    for size, reduction in zip(wanted_sizes, reductions, strict=True):
        if reduction not in found:
            found[reduction] = decode_image(data, limits=limits, wanted_size=size)
    failures = [image for image in found.values() if image.pixels is None]
    return (failures[0],) * len(wanted_sizes) if failures else tuple(found[reduction] for reduction in reductions)


def _decode(data: bytes, format_name: str | None, limits: DecodeLimits, wanted_size: int | None) -> DecodedImage:
    if not data:
        raise ImageRefused(ErrorKind.EMPTY, "file has 0 bytes")
    limits.check_file(len(data))
    if format_name == "dicom":
        return _decode_dicom(data, limits)
    if format_name not in RASTER_FORMATS:
        raise ImageRefused(ErrorKind.UNSUPPORTED, f"format {format_name or 'unknown'} is not read")
    raster = decode_raster(data, format_name, limits=limits, wanted_size=wanted_size)
    return DecodedImage(pixels=raster.pixels, format=format_name, width=raster.width, height=raster.height)


def _decode_dicom(data: bytes, limits: DecodeLimits) -> DecodedImage:
    dataset = read_dataset(data)
    tags = read_tags(dataset)
    try:
        pixels = decode_dicom(dataset, limits=limits)
    except ImageRefused as refusal:
        return _refused("dicom", refusal, tags)
    height, width = pixels.shape
    return DecodedImage(pixels=pixels, format="dicom", width=width, height=height, dicom=tags)


def _refused(format_name: str | None, refusal: ImageRefused, tags: DicomTags | None = None) -> DecodedImage:
    return DecodedImage(format=format_name, error_kind=refusal.kind.value, error=str(refusal), dicom=tags)
