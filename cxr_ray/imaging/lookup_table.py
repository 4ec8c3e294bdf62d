"""Modality and VOI look-up tables of DICOM (PS3.3, C.11.1.1 and C.11.2.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.imaging.raw_elements import integers, raw_value, several

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LookupTable:
    """A look-up table.

    Attributes:
        first: input value that the first entry belongs to.
        entries: uint16 [N], N >= 1; inputs below `first` get the first entry, and those above the last get the last.
    """

    first: int
    entries: np.ndarray

    def map(self, values: np.ndarray) -> np.ndarray:
        """Look up finite numbers of any shape, rounded to integers; returns float64 of the same shape."""
        indices = np.clip(np.rint(values) - self.first, 0, self.entries.size - 1).astype(np.int64)
        outputs: np.ndarray = self.entries[indices].astype(np.float64)
        return outputs


def read_lookup_table(item: Dataset, *, has_negative_inputs: bool) -> LookupTable | None:
    """Read the look-up table of an item of a sequence; None if its descriptor or its data are missing or empty.

    The size of an entry follows from the length of the data, because 8-bit entries occur in bytes and in words, and
    the depth that the descriptor claims is often another one. A table shorter than claimed has the entries it has.

    Args:
        item: item with LUT Descriptor and LUT Data.
        has_negative_inputs: whether inputs may be below 0; then the first input is a signed number, however it is
            written (PS3.3, C.11.2.1.1).
    """
    descriptor = integers(item, "LUTDescriptor")
    if len(descriptor) != 3:
        return None
    count = descriptor[0] % 2**16 or 2**16
    first, bits = descriptor[1], descriptor[2]
    if has_negative_inputs and first >= 2**15:
        first -= 2**16
    data, order = _data(item)
    is_bytes = len(data) in (count, count + 1) or (len(data) < count and bits <= 8)
    width = 1 if is_bytes else 2
    whole = data[: min(count, len(data) // width) * width]
    entries = np.frombuffer(whole, np.uint8 if is_bytes else f"{order}u2").astype(np.uint16)
    return LookupTable(first=first, entries=entries) if entries.size else None


def _data(item: Dataset) -> tuple[bytes, str]:
    """The bytes of LUT Data, and their byte order as numpy writes it."""
    from pydicom.dataelem import RawDataElement

    value = raw_value(item, "LUTData")
    if not isinstance(value, bytes):
        return np.array(several(value), np.int64).astype("<u2").tobytes(), "<"
    element = item.get_item("LUTData")
    is_big_endian = isinstance(element, RawDataElement) and not element.is_little_endian
    return value, ">" if is_big_endian else "<"
