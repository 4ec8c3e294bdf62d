"""Read label, split and mask of an image from its path in a folder of radiographs, and its patient from metadata.csv."""

import csv
import io
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

from cxr_ray.archive.listing import ListedObject
from cxr_ray.errors import DatasetError
from cxr_ray.schema import LABELS, SPLITS

log = logging.getLogger("cxr_ray")

CANONICAL_LABELS = {label.lower(): label for label in LABELS}
METADATA_NAME = "metadata.csv"


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledImage:
    """An image with the label, split, mask and patient that its folder and `metadata.csv` give."""

    image_id: str
    """Path relative to the input folder."""
    uri: str
    label: str | None
    split: str | None = None
    """Split that the folder names; None if it names none."""
    mask_uri: str | None = None
    patient_id: str | None = None


@dataclass(frozen=True, slots=True)
class _Place:
    """Label, split and role (`images` or `masks`) that the folders of a path give."""

    label: str | None
    split: str | None
    role: str


def canonical_label(name: str) -> str:
    """Normalise the spelling of a label: `viral pneumonia` becomes `Viral_Pneumonia`; unknown names keep their case."""
    joined = "_".join(name.replace("-", " ").replace("_", " ").split())
    return CANONICAL_LABELS.get(joined.lower(), joined)


def read_layout(objects: Iterable[ListedObject]) -> list[LabelledImage]:
    """Find the images of a folder with their labels, splits and masks, sorted by image_id.

    Three layouts are read, and may be mixed: `CLASS/images/*` with `CLASS/masks/*` (COVID-19 Radiography Database),
    `CLASS/{train,val,test}_{images,masks}/*` (MedCLIP-SAMv2), and both without CLASS. A mask belongs to the image
    of the same class, split and base name. Objects in other folders are ignored.

    Raises:
        DatasetError: if no image is found in any of these layouts.
    """
    images: list[LabelledImage] = []
    masks: dict[tuple[str | None, str | None, str], str] = {}
    for entry in objects:
        place = _place(entry.name)
        if place is None:
            continue
        if place.role == "masks":
            masks[place.label, place.split, _stem(entry.name)] = entry.uri
        else:
            images.append(LabelledImage(image_id=entry.name, uri=entry.uri, label=place.label, split=place.split))
    if not images:
        raise DatasetError(
            "no image found; expected CLASS/images/*, CLASS/{train,val,test}_images/* or images/* below the input"
        )
    return [
        replace(i, mask_uri=masks.get((i.label, i.split, _stem(i.image_id))))
        for i in sorted(images, key=lambda i: i.image_id)
    ]


def add_metadata(images: list[LabelledImage], metadata_csv: bytes) -> list[LabelledImage]:
    """Add patients, and labels where no folder gives one, from a CSV table with the columns `path,label,patient_id`.

    Args:
        images: the images of `read_layout`; `path` in the table is their `image_id`.
        metadata_csv: content of the table, in UTF-8.

    Raises:
        DatasetError: if the table is not CSV, has no `path` column, names none of the images, or contradicts a folder.
    """
    try:
        reader = csv.DictReader(io.StringIO(metadata_csv.decode("utf-8-sig"), newline=""))
        columns, rows = list(reader.fieldnames or ()), list(reader)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(
            f"{METADATA_NAME} is not readable as CSV in UTF-8: {error}; save it again as CSV in UTF-8"
        ) from error
    if rows and "path" not in columns:
        raise DatasetError(
            f"{METADATA_NAME} has no column 'path'; it has {', '.join(columns)}; write path,label,patient_id with commas"
        )
    by_path = {row["path"]: row for row in rows}
    if rows and not any(image.image_id in by_path for image in images):
        raise DatasetError(
            f"{METADATA_NAME} names none of the images; its first path is {rows[0]['path']!r}, which must be relative to the input"
        )
    return [_with_metadata(image, by_path.get(image.image_id, {})) for image in images]


def _with_metadata(image: LabelledImage, row: dict[str, str]) -> LabelledImage:
    label = canonical_label(row.get("label") or "") or image.label
    if image.label is not None and label != image.label:
        raise DatasetError(
            f"{METADATA_NAME} gives {image.image_id} the label {label}, and its folder gives {image.label}; fix one of them"
        )
    return replace(image, label=label, patient_id=(row.get("patient_id") or "").strip() or None)


def _place(name: str) -> _Place | None:
    *folders, _ = PurePosixPath(name).parts
    if not folders or len(folders) > 2:
        return None
    label = canonical_label(folders[0]) if len(folders) == 2 else None
    split, _, role = folders[-1].lower().rpartition("_")
    if role not in ("images", "masks") or split not in ("", *SPLITS):
        return None
    return _Place(label, split or None, role)


def _stem(name: str) -> str:
    return PurePosixPath(name).stem
