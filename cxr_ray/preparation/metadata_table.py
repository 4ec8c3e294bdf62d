"""Parse `metadata.csv` strictly: what is not understood is refused, and what is not used is named."""

import csv
import io
import logging
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.folders import canonical_label
from cxr_ray.preparation.patient_ids import is_placeholder, patient_ids, without_zero_decimals

log = logging.getLogger("cxr_ray")

METADATA_NAME = "metadata.csv"
_COLUMNS = {
    "path": "path",
    "label": "label",
    "patientid": "patient_id",
    "patient": "patient_id",
    "subjectid": "patient_id",
    "subject": "patient_id",
}
"""Names of columns in small letters and digits -> the column that is meant."""
_LIKE_PATIENTS = re.compile(
    r".*(patient|pacient|pazient|subject|participant|person|proband|individual|mrn|medicalrecord).*"
    r"|(pat|pt|pid|empi|case)(s|no|nr|num|number|id|ids|key|code|nummer)?|pid"
)
_OF_A_PATIENT = re.compile(r".*(age|sex|gender|weight|height|size|position|orient|view|birth|race|ethnic).*")
"""Columns such as `Patient Age` describe patients and do not tell them apart."""
_LIKE_LABELS = re.compile(r"labels|.*label(s|name|names)?|class(es|name)?|diagnos[ie]s|findings?|categor(y|ies)|target")
_QUOTES = "\"'`´‘’“”„«»"


@dataclass(frozen=True, slots=True)
class MetadataRow:
    """One row of the table."""

    line: int
    """Number of the row's last line in the file, from 1."""
    path: str
    label: str | None
    patient_id: str | None


@dataclass(frozen=True, slots=True)
class MetadataTable:
    """The rows of the table, and what its line of column names says."""

    rows: list[MetadataRow]
    has_patients: bool
    like_labels: tuple[str, ...]
    """Columns that look like labels, in a table without a column `label`."""


def parse_metadata(metadata_csv: bytes) -> MetadataTable:
    """Parse the table, and name its unused columns on the terminal.

    Column names and values are stripped; capitals, spaces and punctuation in column names do not matter, and the column
    of patients may be called `patient_id`, `patient`, `subject_id` or `subject`. Placeholders such as `unknown` are no
    patient and no label. Messages name lines and never a patient.

    Raises:
        DatasetError: if it is not CSV in UTF-8 with commas, lacks or repeats a column, has a row with more or fewer
            values than columns, or says nothing.
    """
    lines = _lines(metadata_csv)
    _, names = next(lines, (0, []))
    names = [" ".join(name.strip().splitlines()) for name in names]
    columns = _columns(names)
    cells = []
    for line, row in lines:
        if not any(value.strip() for value in row):
            continue
        if len(row) != len(names):
            raise DatasetError(
                f"line {line} of {METADATA_NAME} has {len(row)} values for {len(names)} columns; quote values that hold commas"
            )
        cells.append((line, {column: _cell(row[i], column, line) for column, i in columns.items()}))
    if not cells:
        raise DatasetError(f"{METADATA_NAME} has no rows; fill it or delete it")
    _name_unused(names, columns)
    return _table(cells, names, columns)


def _lines(metadata_csv: bytes) -> Iterator[tuple[int, list[str]]]:
    """The number of the last line, and the values, of each row that is not empty."""
    line = 0
    try:
        text = metadata_csv.decode("utf-8-sig")
        if "\0" in text:
            raise csv.Error("it holds zero bytes")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
        for row in reader:
            line = reader.line_num
            if row:
                yield line, row
    except UnicodeDecodeError as error:
        raise DatasetError(
            f"{METADATA_NAME} is not readable as CSV in UTF-8: {error}; save it again as CSV in UTF-8"
        ) from error
    except csv.Error as error:
        reason = "a quote is never closed" if "unexpected end" in str(error) else str(error)
        raise DatasetError(
            f"{METADATA_NAME} is not readable as CSV in UTF-8: after line {line}, {reason}; save it again as CSV in UTF-8"
        ) from error


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", name).casefold())


def _columns(names: list[str]) -> dict[str, int]:
    """Position of `path`, and of `label` and `patient_id` if they exist."""
    if not names:
        raise DatasetError(f"{METADATA_NAME} is empty; write path,label,patient_id with commas, or delete it")
    columns: dict[str, int] = {}
    for i, name in enumerate(names):
        meant = _COLUMNS.get(_plain(name))
        if meant in columns:
            raise DatasetError(
                f"{METADATA_NAME} has two columns for {meant}, {names[columns[meant]]} and {name}; keep one of them"
            )
        if name and name in names[:i]:
            raise DatasetError(f"{METADATA_NAME} has two columns {name}; rename or remove one of them")
        if meant:
            columns[meant] = i
    if "path" not in columns:
        known = "its first line is a row" if _is_data(names) else f"it has {', '.join(names)}"
        raise DatasetError(f"{METADATA_NAME} has no column 'path'; {known}; write path,label,patient_id with commas")
    _refuse_unknown_patients(names, columns)
    return columns


def _is_data(names: list[str]) -> bool:
    """Whether the first line holds a path, so that it is a row; it may then name a patient."""
    return any(re.search(r"[/\\]|\.\w{3,5}$|^\d+$", name) for name in names)


def _refuse_unknown_patients(names: list[str], columns: dict[str, int]) -> None:
    """Refuse a table whose patients would be ignored, since their images would lie in several splits."""
    if "patient_id" in columns:
        return
    for name in names:
        if _tells_patients_apart(name):
            raise DatasetError(
                f"{METADATA_NAME} has no column patient_id, but {name}; rename it to patient_id if it tells patients apart,"
                " else remove it"
            )
    if "label" not in columns and not any(_LIKE_LABELS.fullmatch(_plain(name)) for name in names):
        raise DatasetError(
            f"{METADATA_NAME} has neither a column label nor patient_id; it has {', '.join(names)};"
            " write path,label,patient_id with commas"
        )


def _tells_patients_apart(name: str) -> bool:
    return bool(_LIKE_PATIENTS.fullmatch(_plain(name)) and not _OF_A_PATIENT.fullmatch(_plain(name)))


def _cell(value: str, column: str, line: int) -> str:
    """The stripped value of a used column."""
    value = unicodedata.normalize("NFKC", value.strip()) if column == "patient_id" else value.strip()
    if column == "path" and not value:
        raise DatasetError(f"line {line} of {METADATA_NAME} has no path; fill it or remove the line")
    refused = ("Cc", "Zl", "Zp", "Cf") if column == "patient_id" else ("Cc", "Zl", "Zp")
    broken = not value.isprintable() and any(unicodedata.category(letter) in refused for letter in value)
    if broken:
        raise DatasetError(
            f"line {line} of {METADATA_NAME} has a line break or an invisible character in {column}; remove it, or close a quote"
        )
    if column != "path" and value and (value[0] in _QUOTES or value[-1] in _QUOTES or '"' in value):
        raise DatasetError(
            f"line {line} of {METADATA_NAME} has a quotation mark in {column}; put double quotes around whole values only"
        )
    return value if column == "path" else " ".join(value.split())


def _name_unused(names: list[str], columns: dict[str, int]) -> None:
    unused = [name or "(no name)" for i, name in enumerate(names) if i not in columns.values()]
    if "split" in map(_plain, unused):
        log.warning(
            "%s has a column split, which is not used; splits are drawn, or named by folders such as CLASS/train_images",
            METADATA_NAME,
        )
    second = next(filter(_tells_patients_apart, unused), None)
    if second:
        log.warning(
            "patients are read from the column %s of %s, and not from %s",
            names[columns["patient_id"]],
            METADATA_NAME,
            second,
        )
    if unused:
        log.info("columns of %s that are not used: %s", METADATA_NAME, ", ".join(unused))
    if "patient_id" not in columns:
        log.warning("%s has no column patient_id; images of one patient may lie in several splits", METADATA_NAME)


def _table(cells: list[tuple[int, dict[str, str]]], names: list[str], columns: dict[str, int]) -> MetadataTable:
    lines = [line for line, _ in cells]
    patients: list[str | None] = [None] * len(cells)
    if "patient_id" in columns:
        patients = patient_ids([row["patient_id"] for _, row in cells], lines)
    labels = _labels([row.get("label", "") for _, row in cells], lines)
    rows = [
        MetadataRow(line, row["path"], label, patient)
        for (line, row), label, patient in zip(cells, labels, patients, strict=True)
    ]
    like_labels = () if "label" in columns else tuple(n for n in names if _LIKE_LABELS.fullmatch(_plain(n)))
    return MetadataTable(rows, "patient_id" in columns, like_labels)


def _labels(values: list[str], lines: list[int]) -> list[str | None]:
    """Canonical labels; a placeholder is no label."""
    labels = [None if is_placeholder(value) else canonical_label(without_zero_decimals(value)) for value in values]
    found = [(v, line) for v, label, line in zip(values, labels, lines, strict=True) if v and label is None]
    if found:
        log.warning(
            "%d rows of %s have a placeholder in label, which is no label, the first is %r in line %d",
            len(found),
            METADATA_NAME,
            *found[0],
        )
    return labels
