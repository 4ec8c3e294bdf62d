"""Read the findings, the patient and the split of each image from the rows of joined tables."""

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.label_recipe import LabelRecipe, plain_value
from cxr_ray.preparation.label_tables import NumberedRow
from cxr_ray.preparation.patient_ids import patient_ids
from cxr_ray.schema import ABSENT, PRESENT, SPLITS, UNCERTAIN, finding_name

_SPLITS = {split: split for split in SPLITS} | dict.fromkeys(("valid", "validate", "validation"), "val")
Values = tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class LabelledPath:
    """What the tables say about one image."""

    where: str
    """Table and line of the first row of the image."""
    path: str
    values: Values
    """1 present, 0 absent, -1 uncertain or None for each finding."""
    patient_id: str | None
    split: str | None


def read_findings_of_rows(
    rows: Sequence[NumberedRow], recipe: LabelRecipe
) -> tuple[tuple[str, ...], list[LabelledPath]]:
    """Read the names of the findings, and what the tables say about each path.

    Raises:
        DatasetError: if a value, a split or a path is not understood, two findings would share a column, or two rows of one image
            contradict each other.
    """
    of_path: dict[str, list[NumberedRow]] = defaultdict(list)
    for row in rows:
        if not row.cells[recipe.path]:
            raise DatasetError(f"{row.where} has no {recipe.path}; fill it or remove the line")
        of_path[row.cells[recipe.path]].append(row)
    findings = _listed_findings(rows, recipe) if recipe.listed else recipe.findings
    _refuse_equal_columns(findings)
    groups = list(of_path.items())
    patients = _patients(groups, recipe)
    meanings = _meanings(recipe)
    found = [
        LabelledPath(
            where=of_one[0].where,
            path=path,
            values=_listed(of_one, findings, recipe, meanings)
            if recipe.listed
            else _agreed([_wide(row, findings, meanings) for row in of_one], of_one),
            patient_id=patient,
            split=_split(path, of_one, recipe),
        )
        for (path, of_one), patient in zip(groups, patients, strict=True)
    ]
    return tuple(map(finding_name, findings)), found


def _meanings(recipe: LabelRecipe) -> dict[str, int | None]:
    words = {PRESENT: recipe.present, ABSENT: recipe.absent, UNCERTAIN: recipe.uncertain, None: recipe.missing}
    return {plain_value(word): value for value, of_value in words.items() for word in of_value}


def _value(row: NumberedRow, column: str, meanings: dict[str, int | None]) -> int | None:
    text = plain_value(row.cells[column])
    if text not in meanings:
        raise DatasetError(
            f"{row.where} has the value {row.cells[column]!r} in {column}; name it in present, absent, uncertain or missing of the"
            " recipe"
        )
    return meanings[text]


def _wide(row: NumberedRow, findings: Sequence[str], meanings: dict[str, int | None]) -> Values:
    return tuple(_value(row, finding, meanings) for finding in findings)


def _agreed(values: Sequence[Values], rows: Sequence[NumberedRow]) -> Values:
    for other, row in zip(values, rows, strict=True):
        if other != values[0]:
            raise DatasetError(f"{rows[0].where} and {row.where} give one image different findings; keep one of them")
    return values[0]


def _names_in(row: NumberedRow, recipe: LabelRecipe) -> list[str]:
    """Findings that a row lists, without words for none."""
    cell = row.cells[recipe.listed]
    names = [name.strip() for name in (cell.split(recipe.separator) if recipe.separator else [cell])]
    return [name for name in names if name and name not in recipe.none]


def _listed_findings(rows: Sequence[NumberedRow], recipe: LabelRecipe) -> tuple[str, ...]:
    """Findings that are read from a column that lists them: those of the recipe, or else all that occur, sorted."""
    occurring = {name for row in rows for name in _names_in(row, recipe)}
    if unknown := sorted(set(recipe.findings) - occurring):
        raise DatasetError(
            f"no row lists the finding {unknown[0]!r} of the recipe; the tables list {', '.join(sorted(occurring)) or 'none'}"
        )
    if not occurring:
        raise DatasetError(f"no row lists a finding in {recipe.listed}; name the column that lists them in the recipe")
    return recipe.findings or tuple(sorted(occurring))


def _listed(
    rows: Sequence[NumberedRow], findings: Sequence[str], recipe: LabelRecipe, meanings: dict[str, int | None]
) -> Values:
    """Values of an image whose rows list findings; without a column of values, a finding that is not listed is absent."""
    if not recipe.value:
        if all(not row.cells[recipe.listed] for row in rows):
            return (None,) * len(findings)
        present = {name for row in rows for name in _names_in(row, recipe)}
        return tuple(PRESENT if finding in present else ABSENT for finding in findings)
    known: dict[str, tuple[int | None, NumberedRow]] = {}
    for row in rows:
        value = _value(row, recipe.value, meanings)
        for name in _names_in(row, recipe):
            held = known.setdefault(name, (value, row))
            if held[0] != value:
                raise DatasetError(f"{held[1].where} and {row.where} give {name} different values; keep one of them")
    return tuple(known[finding][0] if finding in known else None for finding in findings)


def _refuse_equal_columns(findings: Sequence[str]) -> None:
    names = [finding_name(finding) for finding in findings]
    if repeated := [finding for finding, name in zip(findings, names, strict=True) if names.count(name) > 1]:
        raise DatasetError(
            f"the findings {', '.join(repeated)} would get the same column; name them differently, or alike"
        )


def _patients(groups: Sequence[tuple[str, list[NumberedRow]]], recipe: LabelRecipe) -> list[str | None]:
    """Patient of each image; None where it is not known."""
    if recipe.patient_pattern:
        matches = [re.search(recipe.patient_pattern, path) for path, _ in groups]
        if None in matches:
            path, rows = groups[matches.index(None)]
            raise DatasetError(
                f"{rows[0].where} has the path {path!r}, in which patient_pattern finds no patient; correct one of them"
            )
        return [match[1] for match in matches if match]
    if not recipe.patient:
        return [None] * len(groups)
    named = [_one_of(rows, recipe.patient) for _, rows in groups]
    return patient_ids(named, [rows[0].line for _, rows in groups], table=groups[0][1][0].table)


def _split(path: str, rows: Sequence[NumberedRow], recipe: LabelRecipe) -> str | None:
    """Split of an image; None where the tables name none."""
    if recipe.split_pattern:
        match = re.search(recipe.split_pattern, path)
        word = match[1] if match else ""
    else:
        word = _one_of(rows, recipe.split) if recipe.split in rows[0].cells else ""
    if not word:
        return None
    split = (_SPLITS | recipe.splits).get(word) or (_SPLITS | recipe.splits).get(word.casefold())
    if split not in SPLITS:
        raise DatasetError(
            f"{rows[0].where} names the split {word!r}; name it in splits of the recipe, as train, val or test"
        )
    return split


def _one_of(rows: Sequence[NumberedRow], column: str) -> str:
    """The value that all rows of an image give."""
    for row in rows:
        if row.cells[column] != rows[0].cells[column]:
            raise DatasetError(
                f"{rows[0].where} and {row.where} give one image two values of {column}; keep one of them"
            )
    return rows[0].cells[column]
