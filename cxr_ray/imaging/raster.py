"""Read raster formats (PNG, JPEG, TIFF); a new format needs a reader, which handles its bit depths, and a line of `RASTER_FORMATS`."""

import struct
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile

from cxr_ray.imaging.grey_levels import luma, scale_occupied_bits, wide_luma
from cxr_ray.imaging.jpeg_pixels import is_of_another_process, refuse_many_scans, whole_jpeg
from cxr_ray.imaging.limits import DecodeLimits, ErrorKind, ImageRefused
from cxr_ray.imaging.png_pixels import is_wide_colour, open_png, whole_png, wide_samples
from cxr_ray.imaging.reduced_scale import min_side, scale_reduction

DECODING = f"grey of full depth, of {min_side(0)} pixels or more of a JPEG or DICOM file"
"""Part of a preprocessing's id; this text must change whenever decoding gives other pixels."""

_EXIF_ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF 2.32, 4.6.4: operation that undoes each orientation
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.T,
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].T,
    8: np.rot90,
}


_BITS_PER_SAMPLE, _PHOTOMETRIC, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 322, 323  # tags of TIFF 6.0
_STRIP_OFFSETS, _STRIP_BYTES, _TILE_OFFSETS, _TILE_BYTES = 273, 279, 324, 325
_TIFF_MODES_OF_8_BITS = ("1", "L", "La", "LA", "P", "PA", "RGB", "RGBA", "CMYK")


@dataclass(frozen=True, kw_only=True, slots=True)
class Raster:
    """A decoded image in the orientation in which it is displayed.

    Attributes:
        pixels: uint8 [H, W], low = dark; a reader may have reduced them.
        width: width of the image at full scale, in pixels.
        height: height of the image at full scale, in pixels.
    """

    pixels: np.ndarray
    width: int
    height: int


def _full_scale(width: int, height: int, wanted_size: int) -> int:  # noqa: ARG001 - the signature of `RasterFormat.reduction`
    return 1


@dataclass(frozen=True, kw_only=True, slots=True)
class RasterFormat:
    """Reader and properties of one raster format.

    Attributes:
        read: function of a whole file, the limits that are checked against its header before pixels are decoded, and
            `wanted_size` as `decode_image` takes it. It converts samples of any depth to 8 bits without clipping, or
            refuses them. It may raise the exceptions that Pillow raises for damaged files.
        end: bytes that every complete file contains; a damaged file without them counts as truncated.
        reduction: function of width, height and wanted size that returns the factor by which `read` reduces an image.
    """

    read: Callable[[bytes, DecodeLimits, int | None], Raster]
    end: bytes = b""
    reduction: Callable[[int, int, int], int] = _full_scale


def decode_raster(data: bytes, format_name: str, *, limits: DecodeLimits, wanted_size: int | None = None) -> Raster:
    """Decode one file of a raster format.

    Args:
        data: bytes of the whole file.
        format_name: a key of `RASTER_FORMATS`.
        limits: bounds on the size, checked against the header before any pixel is decoded.
        wanted_size: height and width in pixels to which the caller will resize the image, as `decode_image` takes it.

    Raises:
        ImageRefused: `too_large`, `unsupported`, `multi_frame`, `truncated` or `unreadable`.
    """
    raster_format = RASTER_FORMATS[format_name]
    try:
        return raster_format.read(data, limits, wanted_size)
    except Image.DecompressionBombError as error:
        raise ImageRefused(ErrorKind.TOO_LARGE, f"{format_name} has more pixels than Pillow allows") from error
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        if "truncated" in str(error).lower() or raster_format.end not in data:
            raise ImageRefused(ErrorKind.TRUNCATED, f"{format_name} ends before its last pixel") from error
        raise ImageRefused(ErrorKind.UNREADABLE, f"{format_name} is damaged ({type(error).__name__})") from error


def read_png(data: bytes, limits: DecodeLimits, wanted_size: int | None = None) -> Raster:  # noqa: ARG001 - see RasterFormat
    """Read a PNG; samples of 16 bits, grey or colour, are scaled by their occupied bits."""
    image = open_png(data)
    is_grey = image.mode == "I;16"
    is_wide = is_grey or is_wide_colour(data)
    _check_header(image, limits, bytes_per_sample=2 if is_wide else 1)
    transparent = image.info.get("transparency")
    if is_wide and not is_grey:
        samples = wide_samples(data)
        return _upright(wide_luma(samples, transparent), image, image.size)
    whole_png(data, image)
    if not is_wide:
        return _upright(luma(image), image, image.size)
    samples = np.array(image, dtype=np.uint16)
    if isinstance(transparent, int):
        samples[samples == transparent] = 0
    return _upright(scale_occupied_bits(samples), image, image.size)


def read_jpeg(data: bytes, limits: DecodeLimits, wanted_size: int | None) -> Raster:
    """Read the luma of a JPEG at full scale, or directly from the DCT at 1/2, 1/4 or 1/8 if that is enough for `wanted_size`."""
    refuse_many_scans(data)
    try:
        header = JpegImageFile(BytesIO(data))
    except SyntaxError as error:
        if is_of_another_process(data):
            raise ImageRefused(
                ErrorKind.UNSUPPORTED, "jpeg is lossless or of 12 bits, which is not supported"
            ) from error
        raise
    _check_header(header, limits)
    draft = None if wanted_size is None else ("L", (min_side(wanted_size), min_side(wanted_size)))
    image = whole_jpeg(data, draft)
    return _upright(luma(image), image, header.size)


def read_tiff(data: bytes, limits: DecodeLimits, wanted_size: int | None = None) -> Raster:  # noqa: ARG001 - see RasterFormat
    """Read a TIFF of one page: grey of 16 bits, scaled by its occupied bits, or grey and colour of 8 bits or fewer.

    Samples that Pillow would clip, or reduce to their high bytes, are refused: 32 bits, signed, floating-point, and
    colour of 16 bits. White-is-zero (photometric interpretation 0) is inverted.
    """
    image = _open_tiff(data)
    tags, is_wide = image.tag_v2, image.mode in ("I;16", "I;16B")
    _check_header(image, limits, bytes_per_sample=2 if is_wide else 1)
    tile = {"width": tags.get(_TILE_WIDTH, 1), "height": tags.get(_TILE_LENGTH, 1)}
    limits.check_samples(**tile, channels=len(image.getbands()), bytes_per_sample=2)  # Pillow allocates whole tiles
    bits = max(tags.get(_BITS_PER_SAMPLE, (1,)))
    if not is_wide and (bits > 8 or image.mode not in _TIFF_MODES_OF_8_BITS):
        raise ImageRefused(
            ErrorKind.UNSUPPORTED, f"tiff has samples of {bits} bits in mode {image.mode}, which are not supported"
        )
    for offsets, counts in ((_STRIP_OFFSETS, _STRIP_BYTES), (_TILE_OFFSETS, _TILE_BYTES)):
        ends = (start + size for start, size in zip(tags.get(offsets, ()), tags.get(counts, ()), strict=False))
        if max(ends, default=0) > len(data):
            raise ImageRefused(ErrorKind.TRUNCATED, "tiff ends before its last pixel")
    is_inverted = is_wide and tags.get(_PHOTOMETRIC, 0) == 0  # Pillow inverts images of 8 bits and fewer itself
    pixels = scale_occupied_bits(np.array(image).astype(np.uint16)) if is_wide else luma(image)
    return _upright(255 - pixels if is_inverted else pixels, image, image.size)


def _open_tiff(data: bytes) -> TiffImageFile:
    """Open a TIFF and read the tags of its only page; several pages, and samples that Pillow cannot read, are refused."""
    warnings.filterwarnings("ignore", module=r"PIL\.TiffImagePlugin")  # its warnings quote tags
    if data[:4] == b"MM\0+":
        raise ImageRefused(ErrorKind.UNSUPPORTED, "BigTIFF in big-endian byte order is not supported")
    if _tiff_directory_end(data) > len(data):
        raise ImageRefused(ErrorKind.TRUNCATED, "tiff ends before the end of its directory of tags")
    try:
        image = TiffImageFile(BytesIO(data))
    except SyntaxError as error:
        if "unknown pixel mode" in str(error):
            raise ImageRefused(ErrorKind.UNSUPPORTED, "tiff has samples of a kind that is not supported") from error
        raise
    if image.is_animated:
        raise ImageRefused(ErrorKind.MULTI_FRAME, "tiff has several pages; only files of one page are read")
    return image


def _tiff_directory_end(data: bytes) -> int:
    """Offset in bytes of the end of the first directory (TIFF 6.0, section 2); the numbers of a BigTIFF have 64 bits."""
    order = "<" if data[:2] == b"II" else ">"
    is_big = b"+" in data[2:4]
    start: int = struct.unpack_from(order + ("Q" if is_big else "L"), data, 8 if is_big else 4)[0]
    counter, entry_bytes = (f"{order}Q", 20) if is_big else (f"{order}H", 12)
    first_entry = start + struct.calcsize(counter)
    if first_entry > len(data):
        return first_entry
    entries: int = struct.unpack_from(counter, data, start)[0]
    return first_entry + entries * entry_bytes


def _check_header(image: Image.Image, limits: DecodeLimits, bytes_per_sample: int = 1) -> None:
    channels = len(image.getbands())
    limits.check_samples(width=image.width, height=image.height, channels=channels, bytes_per_sample=bytes_per_sample)


def _upright(pixels: np.ndarray, image: Image.Image, full_size: tuple[int, int]) -> Raster:
    """Apply the EXIF orientation of `image` to its decoded pixels and to its width and height at full scale."""
    width, height = full_size
    try:
        orientation: int = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, struct.error):
        orientation = 1  # the EXIF data is damaged, but the pixels are not
    if orientation in _UPRIGHT:
        pixels = np.ascontiguousarray(_UPRIGHT[orientation](pixels))
    if orientation in (5, 6, 7, 8):
        width, height = height, width
    return Raster(pixels=pixels, width=width, height=height)


# The plug-ins of Pillow are called by name, so that forged bytes cannot reach another format of Pillow, and so that
# only the caller's max_megapixels applies (Image.open adds a limit of its own for the whole process).
RASTER_FORMATS = {
    "png": RasterFormat(read=read_png, end=b"IEND"),
    "jpeg": RasterFormat(read=read_jpeg, end=b"\xff\xd9", reduction=scale_reduction),
    "tiff": RasterFormat(read=read_tiff),
}
"""Every raster format that is read; the keys are the names that `recognise_format` returns."""
