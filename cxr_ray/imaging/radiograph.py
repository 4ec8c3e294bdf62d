"""Load one radiograph into memory, with exactly the pixels that an archive job would score."""

import hashlib
from dataclasses import dataclass, field
from os import PathLike, fspath

import numpy as np

from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.errors import ImageError
from cxr_ray.imaging.decode import DEFAULT_LIMITS, DecodedImage
from cxr_ray.imaging.decoder_fence import decode_fenced
from cxr_ray.imaging.dicom import DicomTags
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.resize import resize_image

NAME_OF_BYTES = "image in memory"
"""Name of an image that was given as bytes."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Radiograph:
    """A decoded image file, as `load_image` returns it.

    Attributes:
        name: path or URI of the file; `image in memory` for an image given as bytes.
        pixels: uint8 [height, width] at full scale, low = dark, as displayed: after an EXIF orientation, and after
            the modality transform, the window and the photometric interpretation of a DICOM file.
        format: format recognised from the content: `dicom`, or a key of `RASTER_FORMATS`, such as `png`.
        content_sha256: SHA-256 of the file, 64 hex digits.
        dicom: tags of a DICOM file, including the patient's id; None for other formats.
        encoded: bytes of the file; `squashed` decodes a JPEG or DICOM file again at the scale that a model needs.
        limits: bounds on the size that the file was checked against.
    """

    name: str
    pixels: np.ndarray = field(repr=False)
    format: str
    content_sha256: str
    dicom: DicomTags | None = field(default=None, repr=False)
    encoded: bytes = field(repr=False)
    limits: DecodeLimits = field(default=DEFAULT_LIMITS, repr=False)

    @property
    def height(self) -> int:
        """Height of the displayed image in pixels."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Width of the displayed image in pixels."""
        return int(self.pixels.shape[1])

    def squashed(self, size: int, interpolation: str = "bilinear") -> np.ndarray:
        """Resize the whole image to a square uint8 [size, size], exactly as archive jobs do for a model of that size.

        Args:
            size: height and width of the result in pixels, at least 1.
            interpolation: `bilinear`, `bicubic` or `lanczos`.

        Raises:
            ImageError: if a file that was decoded at full scale cannot be decoded at the reduced scale for `size`.
            ValueError: if an argument is out of its range.
        """
        pixels = self.pixels
        if self.format in ("jpeg", "dicom"):  # they may be decoded at a reduced scale
            pixels = _pixels_of(self.name, decode_fenced(self.encoded, size, limits=self.limits))
        return resize_image(pixels, size, interpolation)


def load_image(source: str | PathLike[str] | bytes, *, limits: DecodeLimits = DEFAULT_LIMITS) -> Radiograph:
    """Read and decode one radiograph, by the same code as the archive jobs. This function is stable.

    Args:
        source: a local path, a URI (`s3://` and any other fsspec scheme), or the bytes of a file.
        limits: bounds on the size; larger images are refused before their pixels are decoded.

    Raises:
        ImageError: if the image cannot be read or decoded; it is a `CxrRayError` whose one line names the file, the
            kind of the failure (`not_found`, `truncated`, `unsupported`, `too_large`, ...) and its reason.
    """
    if isinstance(source, bytes):
        name, data = NAME_OF_BYTES, source
    else:
        name = fspath(source)
        (fetched,) = fetch_objects([name])
        if fetched.data is None:
            raise ImageError(name, str(fetched.error_kind), str(fetched.error))
        data = fetched.data
    decoded = decode_fenced(data, limits=limits)
    return Radiograph(
        name=name,
        pixels=_pixels_of(name, decoded),
        format=str(decoded.format),
        content_sha256=hashlib.sha256(data).hexdigest(),
        dicom=decoded.dicom,
        encoded=data,
        limits=limits,
    )


def _pixels_of(name: str, decoded: DecodedImage) -> np.ndarray:
    if decoded.pixels is None:
        raise ImageError(name, str(decoded.error_kind), str(decoded.error))
    return decoded.pixels
