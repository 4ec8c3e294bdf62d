"""One radiograph in memory, with exactly the pixels that an archive job would score."""

import hashlib
from dataclasses import dataclass, field
from os import PathLike, fspath

import numpy as np

from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.errors import ImageError
from cxr_ray.imaging.decode import DEFAULT_LIMITS, DecodedImage, decode_image
from cxr_ray.imaging.dicom import DicomTags
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.resize import resize_image

NAME_OF_BYTES = "image in memory"
"""Stands for the name of an image that was given as bytes."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Radiograph:
    """A decoded image file; `load_image` makes it.

    Attributes:
        name: the path or URI it was read from; `image in memory` for bytes.
        pixels: uint8 [height, width] at full scale, low = dark, as displayed: after an EXIF orientation, and after
            the modality transform, the window and the photometric interpretation of a DICOM file.
        format: told by the content: `png`, `jpeg`, `dicom`, ...
        content_sha256: of the file, 64 hex digits.
        dicom: tags of a DICOM file, the patient's id among them; None for other formats.
        encoded: the file itself, for JPEGs are decoded at the scale that a model wants.
        limits: bounds that the file was held to.
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
        """Pixels from top to bottom, as displayed."""
        return int(self.pixels.shape[0])

    @property
    def width(self) -> int:
        """Pixels from left to right, as displayed."""
        return int(self.pixels.shape[1])

    def squashed(self, size: int, interpolation: str = "bilinear") -> np.ndarray:
        """The whole frame as uint8 [size, size], pixel for pixel what archive jobs give to a model of that size.

        Args:
            size: pixels a side, at least 1.
            interpolation: `bilinear`, `bicubic` or `lanczos`.

        Raises:
            ImageError: if a JPEG that was decoded at full scale cannot be at the scale that `size` allows.
            ValueError: if an argument is out of its range.
        """
        pixels = self.pixels
        if self.format == "jpeg":
            pixels = _pixels_of(self.name, decode_image(self.encoded, limits=self.limits, wanted_size=size))
        return resize_image(pixels, size, interpolation)


def load_image(source: str | PathLike[str] | bytes, *, limits: DecodeLimits = DEFAULT_LIMITS) -> Radiograph:
    """Read and decode one radiograph, by the same code as the archive jobs. This function is stable.

    Args:
        source: a local path, a URI (`s3://` and any other fsspec scheme), or the bytes of a file.
        limits: bounds on the size; larger images are refused before their pixels are decoded.

    Raises:
        ImageError: a `CxrRayError` whose one line names the file, the kind of the failure (`not_found`, `truncated`,
            `unsupported`, `too_large`, ...) and its reason.
    """
    if isinstance(source, bytes):
        name, data = NAME_OF_BYTES, source
    else:
        name = fspath(source)
        (fetched,) = fetch_objects([name])
        if fetched.data is None:
            raise ImageError(name, str(fetched.error_kind), str(fetched.error))
        data = fetched.data
    decoded = decode_image(data, limits=limits)
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
