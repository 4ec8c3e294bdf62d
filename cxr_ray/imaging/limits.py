"""What an image may cost before it is decoded, and the words for an image that is refused."""

import math
from dataclasses import dataclass
from enum import StrEnum

from cxr_ray.errors import ConfigError


class ErrorKind(StrEnum):
    """Why bytes gave no pixels; written to the column `error_kind`."""

    EMPTY = "empty"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    NO_PIXELS = "no_pixels"
    MULTI_FRAME = "multi_frame"
    WRONG_MODALITY = "wrong_modality"


class ImageRefused(Exception):  # noqa: N818 - one image's fate, which becomes a row and no error of the job
    """An image that gives no pixels; the message is one line and quotes no patient's data."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeLimits:
    """Bounds that an image's header must keep before any of its pixels are decoded.

    Attributes:
        max_megapixels: width x height / 1e6.
        max_bytes: of the file, and of its decoded samples (width x height x channels x bytes per sample).

    Raises:
        ConfigError: a bound that no image could keep.
    """

    max_megapixels: float = 100.0
    max_bytes: int = 512 * 2**20

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_megapixels) and self.max_megapixels > 0):
            raise ConfigError(f"max_megapixels must be a finite number > 0; got {self.max_megapixels}")
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be >= 1; got {self.max_bytes}")

    def check_file(self, size_bytes: int) -> None:
        """Refuse a file of more than `max_bytes`."""
        if size_bytes > self.max_bytes:
            raise ImageRefused(
                ErrorKind.TOO_LARGE, f"file has {size_bytes} bytes, more than max_bytes={self.max_bytes}"
            )

    def check_samples(self, *, width: int, height: int, channels: int, bytes_per_sample: int) -> None:
        """Refuse an image whose header claims more than the limits, or nothing at all."""
        if width < 1 or height < 1:
            raise ImageRefused(ErrorKind.UNREADABLE, f"header claims an image of {width}x{height} pixels")
        if width * height > self.max_megapixels * 1e6:
            raise ImageRefused(
                ErrorKind.TOO_LARGE,
                f"image of {width}x{height} pixels has more than max_megapixels={self.max_megapixels:g}",
            )
        size_bytes = width * height * channels * bytes_per_sample
        if size_bytes > self.max_bytes:
            raise ImageRefused(
                ErrorKind.TOO_LARGE,
                f"image of {width}x{height} pixels decodes to {size_bytes} bytes, more than max_bytes={self.max_bytes}",
            )
