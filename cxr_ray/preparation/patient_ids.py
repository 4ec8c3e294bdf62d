"""Bring the patient ids of a table to one spelling, so that one patient is not counted as two, nor unknown ones as one."""

import logging
import re
from collections.abc import Sequence

from cxr_ray.errors import DatasetError

log = logging.getLogger("cxr_ray")

_PLACEHOLDER = re.compile(
    r"na|nan|nat|none|null|nil|unknown|unk|missing|undefined|unspecified|anon|anonym(ous|i[sz]ed)|empty|blank|tbd|xxx?"
    r"|not(available|known|given|specified|applicable|recorded)|no(id|patient)|patientunknown|unknownpatient|unbekannt"
    r"|value|ref|div0"
)
"""Words that stand for an unknown value, in small letters and without spaces or punctuation; the last are errors of Excel."""
_FLOAT = re.compile(r"(-?\d+)\.0*")


def is_placeholder(value: str) -> bool:
    """Whether a value stands for an unknown one: it is blank, only punctuation such as `-`, or a word such as `N/A`."""
    plain = re.sub(r"[\W_]+", "", value.casefold())
    return not plain or bool(_PLACEHOLDER.fullmatch(plain))


def without_zero_decimals(value: str) -> str:
    """Write a whole number without decimals, since pandas writes `1` as `1.0` where a column has gaps."""
    found = _FLOAT.fullmatch(value)
    return found[1] if found else value


def patient_ids(values: Sequence[str], lines: Sequence[int], table: str = "metadata.csv") -> list[str | None]:
    """Bring ids to one spelling; a placeholder becomes None.

    `1.0` and `1` are one patient. Leading zeros tell patients apart, except where all other ids of the column are
    written like `1.0`: there, pandas has taken the zeros away. A warning counts placeholders, and ids that differ only
    in capitals, punctuation or leading zeros.

    Args:
        values: stripped ids.
        lines: line of each id in the table, for messages, which never quote an id.
        table: name of the table, for messages.

    Raises:
        DatasetError: if an id was rounded to a form such as `1.23E+11`.
    """
    known = ["" if is_placeholder(value) else value for value in values]
    for value, line in zip(known, lines, strict=True):
        if re.fullmatch(r"-?\d([.,]\d+)?[eE]\+\d+", value):
            raise DatasetError(
                f"line {line} of {table} has a patient_id that was rounded to the form 1.23E+11; write the whole id as text"
            )
    _report_placeholders(values, known, lines, table)
    padded = {value for value in known if re.fullmatch(r"0\d+", value)}
    others = {value for value in known if value} - padded
    if others and all(_FLOAT.fullmatch(value) for value in others):
        known = [value.lstrip("0") or "0" if value in padded else value for value in known]
    ids = [without_zero_decimals(value) or None for value in known]
    _report_alike(ids, lines, table)
    return ids


def _report_placeholders(values: Sequence[str], known: Sequence[str], lines: Sequence[int], table: str) -> None:
    found = [(v, line) for v, k, line in zip(values, known, lines, strict=True) if v and not k]
    if found:
        log.warning(
            "%d rows of %s have a placeholder in patient_id and count as of no known patient, the first is %r in line %d",
            len(found),
            table,
            *found[0],
        )


def _report_alike(ids: Sequence[str | None], lines: Sequence[int], table: str) -> None:
    first: dict[str, tuple[str, int]] = {}
    alike: dict[str, tuple[int, int]] = {}
    for value, line in zip(ids, lines, strict=True):
        if value is None:
            continue
        plain = re.sub(r"[\W_]+", "", value.casefold())
        other, other_line = first.setdefault(plain.lstrip("0") if plain.isdigit() else plain, (value, line))
        if other != value:
            alike.setdefault(value, (other_line, line))
    if alike:
        log.warning(
            "%d patient ids of %s differ from another only in capitals, punctuation or leading zeros and count as other"
            " patients, the first in lines %d and %d",
            len(alike),
            table,
            *next(iter(alike.values())),
        )
