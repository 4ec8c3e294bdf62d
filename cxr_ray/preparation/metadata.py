"""Add patients and labels of `metadata.csv` to the images of a folder; nothing of the table is dropped without a word."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.folder_labels import choose_labels
from cxr_ray.preparation.image_paths import ImagePaths
from cxr_ray.preparation.layout import LabelledImage
from cxr_ray.preparation.metadata_table import METADATA_NAME, MetadataRow, MetadataTable, parse_metadata

log = logging.getLogger("cxr_ray")


def add_metadata(images: list[LabelledImage], metadata_csv: bytes) -> list[LabelledImage]:
    """Add patients, and labels where no folder gives one, from a CSV table with the columns `path,label,patient_id`.

    Rows that name no image, images without a row and images without a patient are counted in warnings.

    Args:
        images: the images of `read_layout`; `path` in the table names them as `ImagePaths` describes.
        metadata_csv: content of the table, which `parse_metadata` describes.

    Raises:
        DatasetError: if the table cannot be parsed, names none of the images, contradicts itself or a folder, or would
            leave patients unread.
    """
    table = parse_metadata(metadata_csv)
    rows_of = _rows_of_images(images, table)
    labels = choose_labels(images, [_only(image, rows, "label") for image, rows in zip(images, rows_of, strict=True)])
    patients = [_only(image, rows, "patient_id") for image, rows in zip(images, rows_of, strict=True)]
    if table.like_labels and None in labels:
        raise DatasetError(
            f"{METADATA_NAME} has no column label, but {table.like_labels[0]}; rename it to label if it holds the classes,"
            " else remove it"
        )
    known = [
        replace(image, label=label, patient_id=patient)
        for image, label, patient in zip(images, labels, patients, strict=True)
    ]
    if table.has_patients:
        _report_unknown_patients([image for image, rows in zip(known, rows_of, strict=True) if rows])
    return known


def _rows_of_images(images: list[LabelledImage], table: MetadataTable) -> list[list[MetadataRow]]:
    """The rows of each image, in order."""
    paths = ImagePaths((image.image_id, image.uri) for image in images)
    rows_of: dict[int, list[MetadataRow]] = defaultdict(list)
    unmatched = []
    for row in table.rows:
        position = paths.find(row.path, row.line)
        if position is None:
            unmatched.append(row)
        else:
            rows_of[position].append(row)
    if not rows_of:
        raise DatasetError(
            f"{METADATA_NAME} names none of the images; its first path is {table.rows[0].path!r}, which must be relative to the input"
        )
    without = [image.image_id for i, image in enumerate(images) if i not in rows_of]
    _report_unmatched(unmatched, without, len(images))
    repeated = [i for i, rows in rows_of.items() if len(rows) > 1]
    if repeated:
        log.warning(
            "%d images have several rows in %s, which are read as one where they agree, the first is %s in line %d",
            len(repeated),
            METADATA_NAME,
            images[repeated[0]].image_id,
            rows_of[repeated[0]][1].line,
        )
    return [rows_of[i] for i in range(len(images))]


def _report_unmatched(unmatched: Sequence[MetadataRow], without: Sequence[str], count: int) -> None:
    """Warn of rows without an image and of images without a row; refuse both together where patients would be lost."""
    if without and any(row.patient_id for row in unmatched):
        first = next(row for row in unmatched if row.patient_id)
        raise DatasetError(
            f"{METADATA_NAME} names patients of {len(unmatched)} files that are none of the images, the first in line"
            f" {first.line} is {first.path!r}, and {len(without)} images have no row, the first is {without[0]}; correct the"
            " paths, or add a row for each image (patient_id may be blank)"
        )
    if unmatched:
        log.warning(
            "%d rows of %s name none of the images and are not used, the first in line %d is %r",
            len(unmatched),
            METADATA_NAME,
            unmatched[0].line,
            unmatched[0].path,
        )
    if without:
        log.warning(
            "%d of %d images have no row in %s, the first is %s", len(without), count, METADATA_NAME, without[0]
        )


def _only(image: LabelledImage, rows: Sequence[MetadataRow], column: str) -> str | None:
    """The one value that the rows of an image give, or None if they give none."""
    given = [(value, row.line) for row in rows if (value := getattr(row, column)) is not None]
    others = [line for value, line in given if value != given[0][0]]
    if others:
        raise DatasetError(
            f"{METADATA_NAME} gives {image.image_id} two values of {column}, in lines {given[0][1]} and {others[0]}; keep one"
        )
    return given[0][0] if given else None


def _report_unknown_patients(named: Sequence[LabelledImage]) -> None:
    """Warn of images whose rows name no patient."""
    unknown = [image.image_id for image in named if image.patient_id is None]
    if unknown:
        log.warning(
            "%d of %d images have no patient in %s, the first is %s; images of one unknown patient may lie in several splits",
            len(unknown),
            len(named),
            METADATA_NAME,
            unknown[0],
        )
