"""Read labels of images from datasets and from tables that people fill in: what is not understood is refused."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

from cxr_ray.archive.same_content import CONTENT
from cxr_ray.archive.tables import read_schema, read_table
from cxr_ray.archive.uris import read_bytes
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.folders import canonical_label
from cxr_ray.preparation.patient_ids import is_placeholder, without_zero_decimals
from cxr_ray.schema import SPLITS

IMAGE_NAMES = ("image_id", "path")
PATIENT_NAMES = ("patient_id", "patient", "subject_id", "subject")
COLUMNS = ("image_id", "label", "patient_id", "split", CONTENT, "duplicate_group")
LABEL_TABLE = pa.schema([(name, pa.string()) for name in COLUMNS])
"""Columns of labelled images; all but the first two may be null."""


@dataclass(frozen=True, kw_only=True)
class LabelTable:
    """Labelled images, each once.

    Attributes:
        rows: rows of `LABEL_TABLE`.
        unlabelled: number of rows without a label, which are left out.
    """

    rows: pa.Table
    unlabelled: int


def read_labels(uris: Sequence[str]) -> LabelTable:
    """Read and merge tables of labels.

    A table is CSV (comma, UTF-8) or Parquet with the columns `image_id` (or `path`) and `label`, and optionally
    `patient_id` (or `patient`, `subject_id`, `subject`), `split`, `content_sha256` and `duplicate_group`; others are not
    used. A blank label, or a placeholder such as `unknown`, is none.

    Raises:
        StorageError: if a table cannot be read.
        DatasetError: if a table is not understood, two rows contradict each other, or no image has a label.
    """
    merged: dict[str, dict[str, str | None]] = {}
    unlabelled = 0
    for uri in uris:
        for row in _rows_of(uri):
            if row["label"] is None:
                unlabelled += 1
            else:
                _merge(merged.setdefault(str(row["image_id"]), dict.fromkeys(COLUMNS)), row, uri)
    if not merged:
        raise DatasetError(f"no image of {', '.join(uris)} has a label; fill in the column label")
    return LabelTable(rows=pa.Table.from_pylist(list(merged.values()), schema=LABEL_TABLE), unlabelled=unlabelled)


def _merge(known: dict[str, str | None], row: dict[str, str | None], uri: str) -> None:
    """Add what `row` says of an image to what is `known`."""
    for name, value in row.items():
        if None not in (value, known[name]) and value != known[name]:
            both = "" if name == "patient_id" else f": {known[name]} and {value}"  # no message quotes a patient's id
            raise DatasetError(f"{row['image_id']} in {uri} has a second {name}{both}; keep one of them")
        known[name] = known[name] if value is None else value


def _rows_of(uri: str) -> list[dict[str, str | None]]:
    """Rows of a table as text by name of `COLUMNS`; labels of a CSV file, which people fill in, are spelt as in a dataset."""
    if not uri.endswith(".csv"):
        chosen = _chosen_columns(read_schema(uri).names, uri)
        table = read_table(uri, list(chosen.values())).rename_columns(list(chosen)).to_pylist()
        return [_row({name: None if v is None else str(v) for name, v in cells.items()}, uri) for cells in table]
    names, lines = _csv_table(uri)
    places = {meant: names.index(name) for meant, name in _chosen_columns(names, uri).items()}
    rows = [_row({meant: line[place] for meant, place in places.items()}, uri) for line in lines]
    return [row | {"label": canonical_label(row["label"]) if row["label"] else None} for row in rows]


def _chosen_columns(names: Sequence[str], uri: str) -> dict[str, str]:
    """Name in the table of each column of `COLUMNS` that it has."""
    alternatives = {name: (name,) for name in COLUMNS} | {"image_id": IMAGE_NAMES, "patient_id": PATIENT_NAMES}
    chosen = {}
    for meant, possible in alternatives.items():
        found = [name for name in names if name in possible]
        if len(found) > 1:
            raise DatasetError(f"{uri} has two columns for {meant}, {' and '.join(found)}; keep one of them")
        if found:
            chosen[meant] = found[0]
    if missing := {"image_id", "label"} - chosen.keys():
        raise DatasetError(f"{uri} has no column {' and '.join(sorted(missing))}; it has {', '.join(names)}")
    return chosen


def _row(cells: dict[str, str | None], uri: str) -> dict[str, str | None]:
    """A row with None for what is blank or a placeholder."""
    row = {name: (value or "").strip() or None for name, value in cells.items()}
    if row["image_id"] is None:
        raise DatasetError(f"a row of {uri} has no image_id; fill it in or remove the row")
    if row.get("split") not in (None, *SPLITS):
        raise DatasetError(f"{row['image_id']} in {uri} has the split {row['split']!r}; only {', '.join(SPLITS)} exist")
    for name in ("label", "patient_id"):
        value = row.get(name)
        row[name] = None if value is None or is_placeholder(value) else without_zero_decimals(value)
    return row


def _csv_table(uri: str) -> tuple[list[str], list[list[str]]]:
    """Names of the columns of a CSV file, and its rows without blank lines."""
    try:
        text = read_bytes(uri).decode("utf-8-sig")
        lines = [[cell.strip() for cell in line] for line in csv.reader(io.StringIO(text, newline=""), strict=True)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{uri} is not readable as CSV in UTF-8: {error}; save it again as CSV in UTF-8") from error
    names, *rows = [line for line in lines if any(line)] or [[]]
    for number, row in enumerate(rows, 1):
        if len(row) != len(names):
            raise DatasetError(
                f"row {number} of {uri} has {len(row)} values for {len(names)} columns; quote values that hold commas"
            )
    return names, rows
