"""Values of DICOM elements as they are written; what cannot be used counts as absent, and nothing here raises for it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_BYTES_ARE_THE_VALUE = ("DS", "IS", "UN", "LO", "SH", "US", "SS", "OW", "OB", "")


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """All values of a decimal string (VR DS), in order; nan for a value that is empty, no number or not finite."""
    value = raw_value(dataset, keyword)
    if isinstance(value, bytes):
        value = value.decode("latin-1").split("\\")
    return [_number(one) for one in several(value)]


def integers(dataset: Dataset, keyword: str) -> list[int]:
    """All values of an integer element, in order; an empty list if any of them is no integer."""
    try:
        return [int(one) for one in several(converted(dataset, keyword))]
    except (TypeError, ValueError, OverflowError):
        return []


def text(dataset: Dataset, keyword: str) -> str:
    """The first value of a text element without padding; empty if there is none."""
    values = several(converted(dataset, keyword))
    return str(values[0]).strip(" \0") if values and values[0] is not None else ""


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; an empty list if the element is absent or no sequence."""
    from pydicom.sequence import Sequence

    value = converted(dataset, keyword)
    return list(value) if isinstance(value, Sequence) else []


def converted(dataset: Dataset, keyword: str) -> Any:
    """The value of an element as pydicom converts it; None if the element is absent or pydicom cannot convert it.

    Raises:
        MemoryError: if there is too little memory, because an attribute that is there must not count as absent.
    """
    try:
        return dataset.get(keyword)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - pydicom raises many kinds of exceptions for values of the wrong length or type
        return None


def raw_value(dataset: Dataset, keyword: str) -> Any:
    """The bytes of an element that pydicom has not converted yet, else its converted value; None if it is absent."""
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import RawDataElement

    element = dataset.get_item(tag_for_keyword(keyword) or 0) if keyword in dataset else None
    if isinstance(element, RawDataElement) and (element.VR or "") not in _BYTES_ARE_THE_VALUE:
        return converted(dataset, keyword)
    return None if element is None else element.value


def several(value: Any) -> list[Any]:
    """The values of an element as a list, whether it has none, one or many."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)


def _number(value: Any) -> float:
    try:
        number = float(str(value).strip(" \0"))
    except ValueError:
        return math.nan
    return number if math.isfinite(number) else math.nan
