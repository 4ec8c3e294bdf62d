"""PNG and JPEG to grey pixels, through Pillow."""

import struct
from collections.abc import Callable
from io import BytesIO

import numpy as np
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from cxr_ray.imaging.limits import DecodeLimits, ErrorKind, ImageRefused

# The plug-ins are called by name: no other format of Pillow's can be reached by forged bytes, and a caller's
# max_megapixels holds alone (Image.open adds a limit of its own, one for the whole process).
RASTER_PLUGINS: dict[str, type[PngImageFile] | type[JpegImageFile]] = {
    "png": PngImageFile,
    "jpeg": JpegImageFile,
}
LEAST_WANTED = 224
"""Pixels a side; smaller images are made of a JPEG decoded for this size, so that most models share one decoding."""
DECODING = f"grey, of a JPEG's {2 * LEAST_WANTED} pixels or more"
"""What the ids of preprocessings know of decoding: it changes with the pixels."""
_END_MARKERS = {"png": b"IEND", "jpeg": b"\xff\xd9"}

_EXIF_ORIENTATION = 0x0112
_UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # EXIF 2.32, 4.6.4: what undoes each orientation
    2: lambda p: p[:, ::-1],
    3: lambda p: p[::-1, ::-1],
    4: lambda p: p[::-1],
    5: lambda p: p.T,
    6: lambda p: np.rot90(p, -1),
    7: lambda p: p[::-1, ::-1].T,
    8: np.rot90,
}


def decode_raster(
    data: bytes, format_name: str, *, limits: DecodeLimits, wanted_size: int | None = None
) -> tuple[np.ndarray, int, int]:
    """Decode one PNG or JPEG.

    Colour becomes luma as Pillow's `convert("L")` has it; transparent pixels lie on black; an EXIF
    orientation is applied. Of 16-bit colour PNGs Pillow gives the high bytes; these count as 8-bit images.

    Args:
        data: the whole file.
        format_name: a key of `RASTER_PLUGINS`.
        limits: checked against the header, before any pixel is decoded.
        wanted_size: see `decode_image`.

    Returns:
        uint8 [H, W], and the width and height of the image at full scale.

    Raises:
        ImageRefused: `too_large`, `truncated` or `unreadable`.
    """
    try:
        image = RASTER_PLUGINS[format_name](BytesIO(data))
        limits.check_samples(
            width=image.width,
            height=image.height,
            channels=len(image.getbands()),
            bytes_per_sample=2 if image.mode == "I;16" else 1,
        )
        width, height = image.size
        if wanted_size is not None:
            # Luma at 1/2, 1/4 or 1/8 scale straight from the DCT; for a PNG this does nothing.
            image.draft("L", (least_side(wanted_size), least_side(wanted_size)))
        pixels = _grey(image)
        orientation = _orientation(image)
    except (OSError, SyntaxError, ValueError, EOFError, struct.error) as error:
        raise _refusal(data, format_name, error) from error
    if orientation in _UPRIGHT:
        pixels = np.ascontiguousarray(_UPRIGHT[orientation](pixels))
    return (pixels, height, width) if orientation in (5, 6, 7, 8) else (pixels, width, height)


def jpeg_reduction(width: int, height: int, wanted_size: int) -> int:
    """By how much `decode_raster` reduces a JPEG of this many pixels: 1, 2, 4 or 8, as Pillow's `draft` has it."""
    most = min(width, height) // least_side(wanted_size)
    return next((reduction for reduction in (8, 4, 2) if most >= reduction), 1)


def least_side(wanted_size: int) -> int:
    """Pixels that both sides of a reduced JPEG keep, where the image is to become `wanted_size` a side."""
    return 2 * max(wanted_size, LEAST_WANTED)


def scale_occupied_bits(samples: np.ndarray) -> np.ndarray:
    """Scale 16-bit samples to 8 bits by the number of bits that are in use.

    Radiographs of 10 to 14 bits are commonly stored in 16-bit PNGs without being scaled up, so the white
    level is taken to be all ones in as many bits as the brightest sample needs, at least eight: 12-bit
    samples are multiplied by 255/4095, and `257 * a` gives back the uint8 image `a` whenever `a` reaches 128.

    Args:
        samples: uint16 [H, W].

    Returns:
        uint8 [H, W], rounded.
    """
    bits = max(8, int(samples.max()).bit_length())
    white = 2**bits - 1
    table = np.rint(np.arange(white + 1) * (255 / white)).astype(np.uint8)
    scaled: np.ndarray = table[samples]
    return scaled


def _grey(image: Image.Image) -> np.ndarray:
    if image.mode == "I;16":
        samples = np.array(image, dtype=np.uint16)
        transparent = image.info.get("transparency")
        if isinstance(transparent, int):
            samples[samples == transparent] = 0
        return scale_occupied_bits(samples)
    if image.has_transparency_data:
        black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        return np.array(Image.alpha_composite(black, image.convert("RGBA")).convert("L"))
    return np.array(image.convert("L"))


def _orientation(image: Image.Image) -> int:
    try:
        orientation: int = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, SyntaxError, ValueError, struct.error):
        return 1  # the pixels are sound, though what was written about them is damaged
    return orientation


def _refusal(data: bytes, format_name: str, error: Exception) -> ImageRefused:
    if "truncated" in str(error).lower() or _END_MARKERS[format_name] not in data:
        return ImageRefused(ErrorKind.TRUNCATED, f"{format_name} ends before its last pixel")
    return ImageRefused(ErrorKind.UNREADABLE, f"{format_name} is damaged ({type(error).__name__})")
