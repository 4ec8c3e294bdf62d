"""Bounds on the size of an image, checked before it is decoded, and the kinds of errors of an image that is refused."""

import math
from dataclasses import dataclass
from enum import StrEnum

from cxr_ray.errors import ConfigError


class ErrorKind(StrEnum):
    """Reason why a file gives no pixels, as written to the column `error_kind`."""

    EMPTY = "empty"
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    UNSUPPORTED = "unsupported"
    NO_PIXELS = "no_pixels"
    MULTI_FRAME = "multi_frame"
    WRONG_MODALITY = "wrong_modality"
    DECODER_CRASHED = "decoder_crashed"
    DECODER_TIMEOUT = "decoder_timeout"


class ImageRefused(Exception):  # noqa: N818 - it concerns one image, becomes a row, and is not an error of the job
    """An image is refused and gives no pixels; the message is one line and quotes no data of the patient."""

    def __init__(self, kind: ErrorKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True, kw_only=True, slots=True)
class DecodeLimits:
    """Upper bounds on an image, checked against its header before any pixel is decoded.

    Attributes:
        max_megapixels: maximum of width x height / 1e6, above 0.
        max_bytes: maximum number of bytes of the file, and also of its decoded samples (width x height x channels x
            bytes per sample), at least 1.
        max_seconds: CPU seconds that a decoder may take for a file, in addition to one second for each MB of the file;
            above 0. They bound decoding in a fence alone.

    Raises:
        ConfigError: if a bound is out of its range.
    """

    max_megapixels: float = 100.0
    max_bytes: int = 512 * 2**20
    max_seconds: float = 4.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.max_megapixels) and self.max_megapixels > 0):
            raise ConfigError(f"max_megapixels must be a finite number > 0; got {self.max_megapixels}")
        if self.max_bytes < 1:
            raise ConfigError(f"max_bytes must be >= 1; got {self.max_bytes}")
        if not (math.isfinite(self.max_seconds) and self.max_seconds > 0):
            raise ConfigError(f"max_seconds must be a finite number > 0; got {self.max_seconds}")

    def check_file(self, size_bytes: int) -> None:
        """Refuse a file of more than `max_bytes`.

        Raises:
            ImageRefused: `too_large`.
        """
        if size_bytes > self.max_bytes:
            raise ImageRefused(
                ErrorKind.TOO_LARGE, f"file has {size_bytes} bytes, more than max_bytes={self.max_bytes}"
            )

    def check_samples(self, *, width: int, height: int, channels: int, bytes_per_sample: int) -> None:
        """Refuse an image whose header claims no pixels, or more than the limits allow.

        Raises:
            ImageRefused: `unreadable` without pixels, `too_large` above a limit.
        """
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
