"""Read a DICOM file: which files are accepted, its pixels, and the tags that go into the results."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING

from cxr_ray.imaging.dicom_display import to_display
from cxr_ray.imaging.dicom_samples import decode_samples, require_transfer_syntax
from cxr_ray.imaging.limits import DecodeLimits, ErrorKind, ImageRefused

if TYPE_CHECKING:
    import numpy as np
    from pydicom.dataset import Dataset, FileDataset

# Modalities of projection radiographs and of digitised films, and an empty modality (PS3.3, C.7.3.1.1.1).
PROJECTION_MODALITIES = frozenset({"CR", "DX", "DR", "RG", "RF", "XA", "OT", "SC", ""})

_PIXEL_DATA_LITTLE_ENDIAN = b"\xe0\x7f\x10\x00"


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
    """

    modality: str | None = None
    view_position: str | None = None
    study_uid: str | None = None
    series_uid: str | None = None
    sop_uid: str | None = None
    patient_id: str | None = field(default=None, repr=False)


def read_dataset(data: bytes) -> FileDataset:
    """Parse the bytes of a DICOM file, with or without preamble; pydicom converts a value when it is first accessed.

    Raises:
        ImageRefused: `unsupported` if the transfer syntax is not read, such as the deflated one, whose small files may
            inflate without bound; `truncated` if the file ends within an element.
    """
    from pydicom import dcmread

    silence_pydicom()
    syntax = _transfer_syntax(data)
    if syntax is not None:
        require_transfer_syntax(syntax)
    dataset = dcmread(BytesIO(data), force=True)  # forced: recognition also accepts files without preamble
    _require_complete(dataset, data)
    return dataset


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
    )


def decode_dicom(dataset: FileDataset, *, limits: DecodeLimits) -> np.ndarray:
    """Decode the one frame of a projection radiograph as a viewer would first show it.

    Returns:
        uint8 [H, W], low = dark.

    Raises:
        ImageRefused: `wrong_modality`, `no_pixels`, `multi_frame`, or a kind that `decode_samples` raises.
    """
    modality = (_text(dataset, "Modality") or "").upper()
    if modality not in PROJECTION_MODALITIES:
        raise ImageRefused(ErrorKind.WRONG_MODALITY, f"modality {modality[:16]!r} is not a projection radiograph")
    if not dataset.get("PixelData"):
        raise ImageRefused(ErrorKind.NO_PIXELS, "DICOM file has no Pixel Data")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise ImageRefused(ErrorKind.MULTI_FRAME, f"DICOM file has {frames} frames; only files of one frame are read")
    return to_display(decode_samples(dataset, limits=limits), dataset)


def _transfer_syntax(data: bytes) -> str | None:
    """Read the Transfer Syntax UID from the file meta group only, because `dcmread` would inflate a deflated data set."""
    from pydicom.filereader import read_dataset as read_elements

    stream = BytesIO(data)
    stream.seek(132 if data[128:132] == b"DICM" else 0)
    meta = read_elements(stream, False, True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2)
    syntax = meta.get("TransferSyntaxUID")
    return None if syntax is None else str(syntax)


def _require_complete(dataset: FileDataset, data: bytes) -> None:
    """Refuse a file that ends within an element; pydicom would accept it with a shorter last element."""
    from pydicom.dataelem import RawDataElement

    last = dataset.get_item(max(dataset.keys()), keep_deferred=True) if len(dataset) else None
    is_cut = isinstance(last, RawDataElement) and last.length not in (0xFFFFFFFF, len(last.value or b""))
    is_dropped = "PixelData" not in dataset and _PIXEL_DATA_LITTLE_ENDIAN in data
    if is_cut or is_dropped:
        raise ImageRefused(ErrorKind.TRUNCATED, "DICOM file ends within an element")


def _text(dataset: Dataset, keyword: str) -> str | None:
    value = dataset.get(keyword)
    return None if value is None else str(value).strip(" \0") or None
