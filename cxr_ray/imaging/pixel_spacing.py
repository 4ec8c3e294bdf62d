"""Read the size of a pixel in millimetres from the header of a DICOM file."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxr_ray.archive.recognise import HEAD_BYTES, recognise_format
from cxr_ray.imaging.dicom import read_dicom
from cxr_ray.imaging.raw_elements import integers, numbers

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SPACING_ELEMENTS = {
    "PixelSpacing": "pixel_spacing",
    "ImagerPixelSpacing": "imager_pixel_spacing",
    "NominalScannedPixelSpacing": "nominal_scanned_pixel_spacing",
}
"""Elements that state a spacing, in the order of preference, and the name of each as a source.

Pixel Spacing (0028,0030) may be calibrated to the patient. Imager Pixel Spacing (0018,1164) is that of the detector, where
structures are magnified, usually by 5 to 20 %. Nominal Scanned Pixel Spacing (0018,2010) is that of a digitised film.
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelSpacing:
    """Distance between the centres of neighbouring pixels in mm, and the size of the image that it belongs to."""

    row_mm: float
    """Distance from row to row."""
    column_mm: float
    """Distance from column to column."""
    source: str
    """A value of `SPACING_ELEMENTS`."""
    height: int | None = None
    """Rows of the image in the file; None if the file does not say."""
    width: int | None = None
    """Columns of the image in the file; None if the file does not say."""

    def at_size(self, height: int, width: int) -> tuple[float, float]:
        """Spacing of rows and columns in mm of this image resized to `height` x `width` pixels."""
        rows, columns = self.height or height, self.width or width
        return self.row_mm * (rows / height), self.column_mm * (columns / width)


def read_pixel_spacing(head: bytes) -> tuple[PixelSpacing | None, bool]:
    """Find the pixel spacing of a DICOM file in its first bytes.

    Args:
        head: the file, or its first bytes.

    Returns:
        The spacing, None if the file is not DICOM or states no spacing of two finite numbers above 0; and whether these
        bytes hold everything that precedes Pixel Data, so that more of the file would not change the answer.
    """
    if recognise_format(head[:HEAD_BYTES]) != "dicom":
        return None, True
    file = read_dicom(head)
    return _spacing_of(file.dataset), file.pixel_start is not None


def _spacing_of(dataset: Dataset) -> PixelSpacing | None:
    for keyword, source in SPACING_ELEMENTS.items():
        stated = numbers(dataset, keyword)
        if len(stated) == 2 and all(math.isfinite(one) and one > 0 for one in stated):
            height, width = (next(iter(integers(dataset, name)), None) for name in ("Rows", "Columns"))
            return PixelSpacing(row_mm=stated[0], column_mm=stated[1], source=source, height=height, width=width)
    return None
