"""Read a DICOM file: which files are accepted, its pixels, and the tags that go into the results."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from cxr_ray.imaging.dicom_display import to_display
from cxr_ray.imaging.dicom_pixel_data import UNDEFINED_LENGTH, PixelData, ends_early, pixel_data_at
from cxr_ray.imaging.dicom_samples import decode_samples, most_reduction, require_transfer_syntax
from cxr_ray.imaging.display_attributes import read_display_attributes
from cxr_ray.imaging.limits import DecodeLimits, ErrorKind, ImageRefused
from cxr_ray.imaging.pixel_layout import PixelLayout, read_pixel_layout
from cxr_ray.imaging.raw_elements import converted
from cxr_ray.imaging.reduced_scale import reduced_by_blocks, scale_reduction

if TYPE_CHECKING:
    import numpy as np
    from pydicom.dataset import Dataset, FileDataset

# Modalities of projection radiographs and of digitised films, and an empty modality (PS3.3, C.7.3.1.1.1).
PROJECTION_MODALITIES = frozenset({"CR", "DX", "DR", "RG", "RF", "XA", "OT", "SC", ""})

_DEFLATED = "1.2.840.10008.1.2.1.99"
_PIXEL_DATA = 0x7FE00010
_LAST_TAG = 0x0020000E
_INFLATED_BYTES = 2**16


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomTags:
    """Tags of one DICOM file; a tag that the file lacks is None.

    Attributes:
        modality: Modality (0008,0060), such as `DX`.
        view_position: View Position (0018,5101), such as `PA`.
        study_uid: Study Instance UID (0020,000D).
        series_uid: Series Instance UID (0020,000E).
        sop_uid: SOP Instance UID (0008,0018).
        patient_id: Patient ID (0010,0020) as written in the file, for hashing only: it never leaves the worker, and
            `repr` does not show it.
        body_part: Body Part Examined (0018,0015), such as `CHEST`.
        burned_in_annotation: Burned In Annotation (0028,0301), `YES` or `NO`.
    """

    modality: str | None = None
    view_position: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    patient_id: str | None = field(default=None, repr=False)
    body_part: str | None = None
    burned_in_annotation: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DicomFile:
    """A DICOM file, parsed up to its Pixel Data.

    Attributes:
        dataset: data set without Pixel Data; pydicom converts a value when it is first accessed.
        encoded: bytes of the file.
        pixel_start: offset of the value of Pixel Data; None if the file has none.
        pixel_length: length that Pixel Data claims.
        pixel_vr: value representation of Pixel Data.
        is_cut: whether the file ends within an element before Pixel Data.
    """

    dataset: Dataset = field(repr=False)
    encoded: bytes = field(repr=False)
    pixel_start: int | None = None
    pixel_length: int = 0
    pixel_vr: str | None = None
    is_cut: bool = False


def read_dicom(data: bytes) -> DicomFile:
    """Parse the bytes of a DICOM file, with or without preamble, up to its Pixel Data.

    Pixel Data within a sequence, such as an icon's, is not Pixel Data of the file. A file that is damaged before it
    gives the tags before the damage, and a deflated one those in its first bytes, because it may inflate without bound.
    """
    from pydicom.filereader import read_partial
    from pydicom.valuerep import EXPLICIT_VR_LENGTH_32

    silence_pydicom()
    meta, meta_end = _file_meta(data)
    if meta.get("TransferSyntaxUID") == _DEFLATED:
        return DicomFile(dataset=_inflated_tags(data[meta_end:], meta), encoded=data)
    found: list[tuple[str | None, int]] = []

    def is_pixel_data(tag: int, vr: str | None, length: int) -> bool:
        if tag == _PIXEL_DATA:
            found.append((vr, length))
        return tag == _PIXEL_DATA

    stream = BytesIO(data)
    try:
        dataset = read_partial(stream, stop_when=is_pixel_data, force=True)
    except (EOFError, OSError):  # it ends within a sequence
        return DicomFile(dataset=_first_tags(data), encoded=data, is_cut=True)
    if not found:
        return DicomFile(dataset=dataset, encoded=data, is_cut=_is_cut(dataset))
    vr, length = found[0]
    header_bytes = 12 if vr in EXPLICIT_VR_LENGTH_32 else 8
    return DicomFile(
        dataset=dataset,
        encoded=data,
        pixel_start=stream.tell() + header_bytes,
        pixel_length=length,
        pixel_vr=vr,
    )


def silence_pydicom() -> None:
    """Keep pydicom's warnings, which quote values of the file, out of the logs and the terminal.

    It must be called before each file, because other code may reset the filters. A call costs microseconds, adds at
    most one filter, and is thread-safe, unlike `warnings.catch_warnings`.
    """
    import logging
    import warnings

    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module=r"pydicom\.")


def read_tags(dataset: Dataset) -> DicomTags:
    """Collect the tags that are written to the results."""
    return DicomTags(
        modality=_text(dataset, "Modality"),
        view_position=_text(dataset, "ViewPosition"),
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        sop_uid=_text(dataset, "SOPInstanceUID"),
        patient_id=_text(dataset, "PatientID"),
        body_part=_text(dataset, "BodyPartExamined"),
        burned_in_annotation=_text(dataset, "BurnedInAnnotation"),
    )


def decode_dicom(
    file: DicomFile, *, limits: DecodeLimits, wanted_sizes: Sequence[int | None] = (None,)
) -> list[np.ndarray]:
    """Decode the one frame of a projection radiograph as a viewer would first show it.

    Args:
        file: the file.
        limits: bounds on the size, checked before any pixel is decoded.
        wanted_sizes: heights and widths in pixels to which the caller will resize the image; None means full scale.

    Returns:
        uint8 [H, W] for each of `wanted_sizes`, low = dark, as displayed at full scale and reduced by `scale_reduction`;
        one array for all sizes that need the same scale.

    Raises:
        ImageRefused: `wrong_modality`, `no_pixels`, `multi_frame`, or a kind that `decode_samples` raises.
    """
    dataset = file.dataset
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is not None:
        require_transfer_syntax(str(syntax))
    modality = (_text(dataset, "Modality") or "").upper()
    if modality not in PROJECTION_MODALITIES:
        raise ImageRefused(ErrorKind.WRONG_MODALITY, f"modality {modality[:16]!r} is not a projection radiograph")
    if file.is_cut:
        raise ends_early()
    if not file.pixel_start or not file.pixel_length:
        raise ImageRefused(ErrorKind.NO_PIXELS, "DICOM file has no Pixel Data")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageRefused(ErrorKind.MULTI_FRAME, f"DICOM file has {frames} frames; only files of one frame are read")
    pixels = pixel_data_at(file.encoded, file.pixel_start, file.pixel_length, file.pixel_vr)
    layout = read_pixel_layout(dataset, limits)
    reductions = [1 if s is None else scale_reduction(layout.columns, layout.rows, s) for s in wanted_sizes]
    most_skipped = _most_skipped(dataset, pixels, layout) if max(reductions) > 1 else 1
    shown: dict[tuple[int, int], np.ndarray] = {}
    for reduction in reductions:
        skipped = min(reduction, most_skipped)
        if (skipped, 1) not in shown:
            samples = decode_samples(dataset, pixels, limits=limits, reduction=skipped)
            shown[skipped, 1] = to_display(samples, dataset)
        blocks = reduction // skipped
        if (skipped, blocks) not in shown:
            shown[skipped, blocks] = reduced_by_blocks(shown[skipped, 1], blocks)
    return [shown[min(r, most_skipped), r // min(r, most_skipped)] for r in reductions]


def _most_skipped(dataset: Dataset, pixels: PixelData, layout: PixelLayout) -> int:
    """Factor by which samples may be reduced before they are displayed.

    Without a window the range of all pixels decides what is shown, and the extremes of a reduced image are others; at the
    edges of padding its values would be averaged with pixels.
    """
    attributes = read_display_attributes(dataset)
    if attributes.shows_range or attributes.padding is not None:
        return 1
    return most_reduction(dataset, pixels, layout)


def _file_meta(data: bytes) -> tuple[Dataset, int]:
    """Read the file meta group only, because `dcmread` would inflate a deflated data set; also its end in bytes."""
    from pydicom.filereader import read_dataset as read_elements

    stream = BytesIO(data)
    stream.seek(132 if data[128:132] == b"DICM" else 0)
    meta = read_elements(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
    return meta, stream.tell()


def _inflated_tags(deflated: bytes, meta: Dataset) -> Dataset:
    """Parse the beginning of a deflated data set (PS3.5, A.5) as far as the tags go that `read_tags` collects."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset as read_elements

    try:
        inflated = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, _INFLATED_BYTES)
    except zlib.error:
        inflated = b""
    dataset = read_elements(BytesIO(inflated), False, True, stop_when=_is_behind_tags)
    dataset.file_meta = FileMetaDataset(meta)
    return dataset


def _first_tags(data: bytes) -> FileDataset:
    """Parse a file that is damaged later only as far as the tags go that `read_tags` collects."""
    from pydicom.filereader import read_partial

    return read_partial(BytesIO(data), stop_when=_is_behind_tags, force=True)


def _is_behind_tags(tag: int, vr: str | None, length: int) -> bool:
    """Whether an element follows the tags that `read_tags` collects, or is a sequence, which may be damaged."""
    return tag > _LAST_TAG or vr == "SQ" or length == UNDEFINED_LENGTH


def _is_cut(dataset: FileDataset) -> bool:
    """Whether the last element is shorter than it claims; pydicom accepts that."""
    from pydicom.dataelem import RawDataElement

    last = dataset.get_item(max(dataset.keys()), keep_deferred=True) if len(dataset) else None
    return isinstance(last, RawDataElement) and last.length not in (UNDEFINED_LENGTH, len(last.value or b""))


def _text(dataset: Dataset, keyword: str) -> str | None:
    value = converted(dataset, keyword)
    return None if value is None else str(value).strip(" \0") or None
