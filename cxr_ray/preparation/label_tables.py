"""Read tables of labels as text, and join them to one table with a row for each row of the table of images."""

import csv
import gzip
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cxr_ray.archive.tables import read_table
from cxr_ray.archive.uris import read_bytes
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.label_recipe import LabelRecipe
from cxr_ray.preparation.patient_ids import without_zero_decimals

log = logging.getLogger("cxr_ray")

Row = dict[str, str]


@dataclass(frozen=True, slots=True)
class NumberedRow:
    """A row of a table, and where it stands."""

    table: str
    """Name of the table."""
    line: int
    """Number of the row's last line in a CSV file, or of the row in a Parquet file, from 1."""
    cells: Row
    """Text of each column."""

    @property
    def where(self) -> str:
        """Line and table, such as `line 7 of train.csv`."""
        return f"line {self.line} of {self.table}"


@dataclass(frozen=True, slots=True)
class LabelTable:
    """A table whose cells are text."""

    name: str
    columns: tuple[str, ...]
    rows: list[NumberedRow]


@dataclass(frozen=True, slots=True)
class JoinedTable:
    """All tables as one, and what did not join."""

    rows: list[NumberedRow]
    """Rows that name an image, with the columns of all tables."""
    columns: frozenset[str]
    without_partner: list[str]
    """`path` of rows without findings, because their partner in the table of the findings is missing; not in `rows`."""
    without_image: list[str]
    """Rows of joined tables that no row with a `path` asks for, such as `study_id 7 of labels.csv`."""


def read_label_table(uri: str) -> LabelTable:
    """Read a table: CSV in UTF-8 with a line of column names, also compressed by gzip, or Parquet.

    Spaces around names and values are not part of them.

    Raises:
        DatasetError: if it is not CSV in UTF-8, a column name repeats, or a row has more or fewer values than columns.
        StorageError: if it cannot be read.
    """
    name = uri.rstrip("/").rpartition("/")[2]
    if name.endswith(".parquet"):
        table = read_table(uri)
        texts = [["" if value is None else str(value) for value in column.to_pylist()] for column in table.columns]
        rows = [
            NumberedRow(name, number, dict(zip(table.column_names, cells, strict=True)))
            for number, cells in enumerate(zip(*texts, strict=True), start=1)
        ]
        return LabelTable(name, tuple(table.column_names), rows)
    lines = _csv_lines(name, read_bytes(uri))
    _, columns = next(lines, (0, []))
    named = [column for column in columns if column]
    if not named or len(set(named)) < len(named):
        raise DatasetError(
            f"{name} has no line of different column names; it begins with {', '.join(columns) or 'nothing'}"
        )
    rows = []
    for line, cells in lines:
        if len(cells) != len(columns):
            raise DatasetError(
                f"line {line} of {name} has {len(cells)} values for {len(columns)} columns; quote values that hold commas"
            )
        rows.append(NumberedRow(name, line, dict(zip(columns, cells, strict=True))))
    if not rows:
        raise DatasetError(f"{name} has no rows; name a table of labels")
    return LabelTable(name, tuple(named), rows)


def _csv_lines(name: str, data: bytes) -> Iterator[tuple[int, list[str]]]:
    """The number of the last line, and the stripped values, of each row that is not empty."""
    try:
        text = (gzip.decompress(data) if name.endswith(".gz") else data).decode("utf-8-sig")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        for row in reader:
            if any(value.strip() for value in row):
                yield reader.line_num, [value.strip() for value in row]
    except (UnicodeDecodeError, csv.Error, OSError, EOFError) as error:
        raise DatasetError(f"{name} is not readable as CSV in UTF-8: {error}; save it again as CSV in UTF-8") from error


def join_tables(tables: Sequence[LabelTable], recipe: LabelRecipe) -> JoinedTable:
    """Join tables: those with equal columns are put below each other, others are joined by `path`, or else by `join`.

    Raises:
        DatasetError: if no table has the column `path`, a table has neither column, lacks columns of the recipe, or a joined table
            has two different rows for one key.
    """
    parts = _stacked(tables)
    base = next((part for part in parts if recipe.path in part.columns), None)
    if base is None:
        names = "; ".join(f"{part.name} has {', '.join(part.columns)}" for part in parts)
        raise DatasetError(f"no table has the column {recipe.path!r}, which names the image; {names}")
    needed = {recipe.path, recipe.listed or recipe.path, recipe.value or recipe.path, recipe.patient or recipe.path}
    needed |= set() if recipe.listed else set(recipe.findings)
    if lacking := sorted(needed - {column for part in parts for column in part.columns}):
        raise DatasetError(
            f"no table has the column {', '.join(lacking)} of the recipe; name all tables with --labels-uri, or another recipe"
        )
    rows, lost, unused = base.rows, list[str](), list[str]()
    others = [part for part in parts if part is not base]
    for part in sorted(others, key=lambda part: _holds_findings(part, recipe)):  # rows without findings are lost last
        rows, new_lost, new_unused = _joined(rows, part, recipe)
        lost, unused = lost + new_lost, unused + new_unused
    return JoinedTable(rows, frozenset(column for part in parts for column in part.columns), lost, unused)


def _stacked(tables: Sequence[LabelTable]) -> list[LabelTable]:
    """Put tables with the same columns below each other."""
    parts: dict[frozenset[str], LabelTable] = {}
    for table in tables:
        key = frozenset(table.columns)
        held = parts.get(key)
        parts[key] = (
            table if held is None else LabelTable(f"{held.name} and {table.name}", held.columns, held.rows + table.rows)
        )
    return list(parts.values())


def _joined(
    rows: list[NumberedRow], part: LabelTable, recipe: LabelRecipe
) -> tuple[list[NumberedRow], list[str], list[str]]:
    """Add the columns of `part` to rows; also return paths of rows that lose their findings, and rows of `part` without use."""
    key = recipe.path if recipe.path in part.columns else recipe.join
    if not key or key not in part.columns:
        raise DatasetError(
            f"{part.name} has neither the column {recipe.path!r} nor one to join it by; set join in the recipe, or leave it out"
        )
    partners: dict[str, NumberedRow] = {}
    for row in part.rows:
        held = partners.setdefault(without_zero_decimals(row.cells[key]), row)
        if held.cells != row.cells:
            raise DatasetError(f"{held.where} and {row.where} are two rows of one {key}; keep one of them")
    found, lost, used, blank = [], list[str](), set[str](), dict.fromkeys(part.columns, "")
    for row in rows:
        if key not in row.cells:
            raise DatasetError(
                f"{row.where} has no column {key}, by which {part.name} is joined; leave one of them out"
            )
        wanted = without_zero_decimals(row.cells[key])
        partner = partners.get(wanted)
        used.add(wanted)
        if partner is None and _holds_findings(part, recipe):
            lost.append(row.cells[recipe.path])
        else:
            found.append(NumberedRow(row.table, row.line, blank | (partner.cells if partner else {}) | row.cells))
    unused = [f"{key} {name} of {part.name}" for name in partners if name not in used]
    return found, lost, unused


def _holds_findings(part: LabelTable, recipe: LabelRecipe) -> bool:
    return bool({recipe.listed, *(() if recipe.listed else recipe.findings)} & set(part.columns))
