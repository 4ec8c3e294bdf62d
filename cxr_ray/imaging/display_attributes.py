"""How a DICOM file asks to be shown: its rescale, look-up tables, window and padding, parsed once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxr_ray.imaging.limits import ErrorKind, ImageRefused
from cxr_ray.imaging.lookup_table import LookupTable, read_lookup_table
from cxr_ray.imaging.raw_elements import integers, items, numbers, text

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LOWEST_WIDTH = {"LINEAR": 1.0, "LINEAR_EXACT": math.ulp(0.0), "SIGMOID": math.ulp(0.0)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A window (PS3.3, C.11.2.1.2 and C.11.2.1.3).

    Attributes:
        centre: finite number.
        width: at least 1 for `LINEAR`, above 0 for the other functions.
        function: `LINEAR`, `LINEAR_EXACT` or `SIGMOID`.
    """

    centre: float
    width: float
    function: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DisplayAttributes:
    """Attributes that decide how grey samples are shown; one that is absent or cannot be used is None.

    Attributes:
        is_inverted: whether low samples are bright (MONOCHROME1).
        modality_table: Modality LUT; a file that has one has no rescale.
        rescale: slope, which is not 0, and intercept.
        voi_table: VOI LUT; it precedes the window.
        window: first window that can be used.
        padding: lowest and highest stored value of the padding.
    """

    is_inverted: bool = False
    modality_table: LookupTable | None = None
    rescale: tuple[float, float] | None = None
    voi_table: LookupTable | None = None
    window: Window | None = None
    padding: tuple[int, int] | None = None

    @property
    def shows_range(self) -> bool:
        """Whether the range of the pixels is shown, because there is neither a VOI LUT nor a window."""
        return self.voi_table is None and self.window is None

    @property
    def range_needs_all_values(self) -> bool:
        """Whether the range that is shown may depend on more than the lowest and the highest stored value."""
        return self.shows_range and not (self.modality_table is None and self.padding is None)


def read_display_attributes(dataset: Dataset) -> DisplayAttributes:
    """Read the display attributes of a data set; those in the functional groups of its first frame come first.

    Raises:
        ImageRefused: `unreadable` if the rescale is there and not finite, because a window means nothing without it.
    """
    is_signed = integers(dataset, "PixelRepresentation")[:1] == [1]
    transforms = [*_of_first_frame(dataset, "PixelValueTransformationSequence"), dataset]
    views = [*_of_first_frame(dataset, "FrameVOILUTSequence"), dataset]
    modality_table = _first_table(dataset, "ModalityLUTSequence", has_negative_inputs=is_signed)
    rescale = None
    if modality_table is None:
        rescale = next((found for source in transforms if (found := _rescale(source))), None)
    goes_below_zero = modality_table is None and (is_signed or (rescale is not None and min(rescale) < 0))
    return DisplayAttributes(
        is_inverted=text(dataset, "PhotometricInterpretation") == "MONOCHROME1",
        modality_table=modality_table,
        rescale=rescale,
        voi_table=_first_table(dataset, "VOILUTSequence", has_negative_inputs=goes_below_zero, is_varied=True),
        window=next((window for source in views if (window := _window(source))), None),
        padding=_padding(dataset, is_signed=is_signed),
    )


def _of_first_frame(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Items of a functional group macro for the first frame (PS3.3, C.7.6.16), its own group before the shared one."""
    groups = (items(dataset, f"{name}FunctionalGroupsSequence")[:1] for name in ("PerFrame", "Shared"))
    return [macro for group in groups for frame in group for macro in items(frame, keyword)[:1]]


def _first_table(
    dataset: Dataset, keyword: str, *, has_negative_inputs: bool, is_varied: bool = False
) -> LookupTable | None:
    """The first usable table of a sequence; `is_varied` asks for entries that are not all equal."""
    found = (read_lookup_table(item, has_negative_inputs=has_negative_inputs) for item in items(dataset, keyword))
    usable = (table for table in found if table is not None)
    return next((t for t in usable if not is_varied or t.entries.min() < t.entries.max()), None)


def _rescale(dataset: Dataset) -> tuple[float, float] | None:
    slopes, intercepts = numbers(dataset, "RescaleSlope"), numbers(dataset, "RescaleIntercept")
    if not slopes or not intercepts:
        return None
    if not (math.isfinite(slopes[0]) and math.isfinite(intercepts[0])):
        raise ImageRefused(ErrorKind.UNREADABLE, "rescale slope or intercept is not a finite number")
    return (slopes[0], intercepts[0]) if slopes[0] else None


def _window(dataset: Dataset) -> Window | None:
    function = text(dataset, "VOILUTFunction").upper() or "LINEAR"
    lowest = _LOWEST_WIDTH.get(function, math.inf)
    pairs = zip(numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth"), strict=False)
    usable = ((centre, width) for centre, width in pairs if math.isfinite(centre) and width >= lowest)
    return next((Window(centre=centre, width=width, function=function) for centre, width in usable), None)


def _padding(dataset: Dataset, *, is_signed: bool) -> tuple[int, int] | None:
    """Padding as stored values, whichever sign its VR gives it."""
    values = integers(dataset, "PixelPaddingValue")[:1]
    if not values:
        return None
    values += integers(dataset, "PixelPaddingRangeLimit")[:1] or values
    low = -(2**15) if is_signed else 0
    first, last = sorted((value - low) % 2**16 + low for value in values)
    return first, last
