"""Read the verdicts of an audit of the model, which the report of an evaluation shows beside its figures."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from cxr_ray.archive.uris import join_uri, read_bytes
from cxr_ray.errors import DatasetError

AUDIT_NAME = "audit.json"
VERDICTS = ("fail", "warn", "pass", "not done")
"""Verdicts, the worst first."""
NOT_MEASURED = "not measured"
"""What an audit calls a check that was not done."""
TEXTS = ("figure", "threshold", "why")


def read_audit(uri: str, model_ids: Sequence[str]) -> list[dict[str, str]]:
    """Read the verdicts of an audit, the worst first.

    Two forms are read: a list `verdicts` with `check`, `verdict`, `figure`, `threshold` and `why`, and the list `findings` that
    audit_classifier.py writes, whose values and limits are put into words.

    Args:
        uri: the file audit.json, or the folder that holds it.
        model_ids: models of the predictions; an audit that names another model is refused.

    Returns:
        A dict with `check`, `verdict` (one of `VERDICTS`), `figure`, `threshold` and `why` for each check.

    Raises:
        DatasetError: if the file is no audit, or is of another model.
        StorageError: if it cannot be read.
    """
    place = uri if uri.endswith(".json") else join_uri(uri, AUDIT_NAME)
    try:
        audit = json.loads(read_bytes(place))
    except ValueError as error:
        raise DatasetError(f"{place} is no JSON: {error}; name the audit.json of an audit") from error
    rows = [_verdict(row) for row in _rows(audit, place)]
    wrong = [row for row in rows if row["verdict"] not in VERDICTS or not row["check"]]
    if wrong:
        raise DatasetError(
            f"{place} has a check with the verdict {wrong[0]['verdict']!r}; it must be one of {VERDICTS}"
        )
    audited = audit.get("model_id")
    if audited is not None and audited not in model_ids:
        raise DatasetError(
            f"{place} is of the model {audited}, and the predictions of {', '.join(model_ids) or 'none'}; audit the same model"
        )
    return sorted(rows, key=lambda row: VERDICTS.index(row["verdict"]))


def _rows(audit: Any, place: str) -> list[Mapping[str, Any]]:
    rows = audit.get("verdicts", audit.get("findings")) if isinstance(audit, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DatasetError(f"{place} has no list 'verdicts' or 'findings'; name the audit.json of an audit")
    return rows


def _verdict(row: Mapping[str, Any]) -> dict[str, str]:
    verdict = "not done" if row.get("verdict") == NOT_MEASURED else str(row.get("verdict"))
    if "question" not in row:
        texts = {name: str(row.get(name) or "") for name in TEXTS}
        return {"check": str(row.get("check") or ""), "verdict": verdict, **texts}
    return {
        "check": str(row["question"]),
        "verdict": verdict,
        "figure": _figure(row),
        "threshold": _threshold(row.get("limits")),
        "why": str(row.get("detail") or ""),
    }


def _figure(row: Mapping[str, Any]) -> str:
    if row.get("value") is None:
        return ""
    interval = row.get("interval")
    bounds = f" (95 % CI {interval[0]:.3g} to {interval[1]:.3g})" if interval else ""
    return f"{row.get('measure') or 'value'}: {row['value']:.3g}{bounds}"


def _threshold(limits: Sequence[float] | None) -> str:
    return f"warn from {limits[0]:g}, fail from {limits[1]:g}" if limits else ""
