"""Layout of the samples of a DICOM image: what its header claims, checked, and where a sample stands in its word."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.imaging.limits import DecodeLimits, ErrorKind, ImageRefused

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_REQUIRED = ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation")
_PHOTOMETRIC_INTERPRETATIONS = {
    1: ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR"),
    3: ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT"),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelLayout:
    """Image Pixel attributes of a data set (PS3.3, C.7.6.3).

    Attributes:
        rows: height in pixels, at least 1.
        columns: width in pixels, at least 1.
        channels: samples per pixel, 1 or 3.
        bits_allocated: bits of a word, 8 or 16.
        bits_stored: bits of a sample, 1 to `bits_allocated`.
        high_bit: position in its word of a sample's highest bit.
        is_signed: whether samples are two's complement numbers.
        photometric: Photometric Interpretation.
    """

    rows: int
    columns: int
    channels: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    photometric: str

    @property
    def native_bytes(self) -> int:
        """Number of bytes of the uncompressed image."""
        size = self.rows * self.columns * self.channels * self.bits_allocated // 8
        return size * 2 // 3 if self.photometric == "YBR_FULL_422" else size

    def samples(self, words: np.ndarray, *, precision: int, is_lossy: bool) -> np.ndarray:
        """Take the samples out of decoded words (PS3.5, 8.1.1).

        A sample ends at the high bit. Bits outside it, such as an overlay's, are no part of a lossless sample. A lossy
        codec overshoots its range, so its samples are clipped instead.

        Args:
            words: integers of 8 or 16 bits, which may be changed in place.
            precision: number of bits that the codec declares; an uncompressed word has `bits_allocated`.
            is_lossy: whether the codec may have changed the samples.

        Returns:
            (u)int8 or (u)int16 of the same shape, signed if the layout is.
        """
        width = words.dtype.itemsize * 8
        shift = max(0, min(self.high_bit + 1, precision) - self.bits_stored)
        bits = min(precision - shift, self.bits_stored)
        unsigned, signed = np.dtype(f"u{width // 8}"), np.dtype(f"i{width // 8}")
        if is_lossy:
            spread = _sign_extended(words, precision) if self.is_signed else words.view(unsigned) & _ones(precision)
            lowest, highest = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if self.is_signed else (0, 2**bits - 1)
            clipped: np.ndarray = np.clip(spread >> shift, lowest, highest)
            return clipped
        raw = words.view(unsigned)
        if shift:
            raw = raw >> shift
        if self.is_signed:
            return _sign_extended(raw, bits).view(signed)
        # most files have nothing above their samples, and a maximum is found in a quarter of the time of a copy
        return raw & _ones(bits) if bits < width and raw.max() > _ones(bits) else raw


def read_pixel_layout(dataset: Dataset, limits: DecodeLimits) -> PixelLayout:
    """Read and check the Image Pixel attributes.

    Raises:
        ImageRefused: `unreadable` if attributes are missing or contradict each other, `too_large` or `unsupported`.
    """
    missing = [keyword for keyword in _REQUIRED if dataset.get(keyword) is None]
    if missing:
        raise ImageRefused(ErrorKind.UNREADABLE, f"DICOM file has no {', '.join(missing)}")
    allocated = int(dataset.BitsAllocated)
    channels = int(dataset.get("SamplesPerPixel") or 1)
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    limits.check_samples(width=columns, height=rows, channels=channels, bytes_per_sample=math.ceil(allocated / 8))
    if allocated not in (8, 16):
        raise ImageRefused(
            ErrorKind.UNSUPPORTED, f"DICOM file has {allocated} bits per sample; only 8 or 16 are supported"
        )
    photometric = str(dataset.PhotometricInterpretation)
    if photometric not in _PHOTOMETRIC_INTERPRETATIONS.get(channels, ()):
        raise ImageRefused(
            ErrorKind.UNSUPPORTED, f"photometric interpretation with {channels} samples per pixel is not supported"
        )
    stored = int(dataset.get("BitsStored") or allocated)
    if not 1 <= stored <= allocated:
        raise ImageRefused(ErrorKind.UNREADABLE, f"DICOM file claims {stored} bits stored of {allocated} allocated")
    high_bit = dataset.get("HighBit")
    return PixelLayout(
        rows=rows,
        columns=columns,
        channels=channels,
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=min(stored - 1 if high_bit is None else int(high_bit), allocated - 1),
        is_signed=int(dataset.get("PixelRepresentation") or 0) == 1,
        photometric=photometric,
    )


def _ones(bits: int) -> int:
    return (1 << bits) - 1


def _sign_extended(words: np.ndarray, bits: int) -> np.ndarray:
    """Two's complement numbers of `bits` bits, in words that are as wide as before."""
    signed = words.view(f"i{words.dtype.itemsize}")
    spare = words.dtype.itemsize * 8 - bits
    return (signed << spare) >> spare if spare else signed
