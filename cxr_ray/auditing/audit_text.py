"""The outcome of an audit as text: the table of views and the table of verdicts."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

CHECKS = {
    "a": "where the answer lies",
    "b": "where the network looks",
    "c": "what it knows of the source",
    "d": "what disturbs it",
    "e": "what leaked",
    "f": "what was written into the images",
}
"""Titles of the checks by their letters."""
WIDTH = 118


def audit_text(result: Mapping[str, Any]) -> str:
    """Write the content of audit.json as tables of plain text."""
    lines = [f"{result['model_id']} on {result['n_answered']} images; probes on {result['n_learned']} images", ""]
    lines += _views(result["views"])
    for check, title in CHECKS.items():
        rows = [finding for finding in result["findings"] if finding["check"] == check]
        lines += ["", f"{check}. {title}", *(line for row in rows for line in _finding(row))]
    counts = {name: sum(row["verdict"] == name for row in result["findings"]) for name in ("fail", "warn", "pass")}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    skipped = sum(row["verdict"] == "not measured" for row in result["findings"])
    lines += ["", f"verdict: {result['verdict'].upper()} ({told}, {skipped} not measured)"]
    lines += [f"note: {note}" for note in result["notes"]]
    return "\n".join(lines) + "\n"


def _views(views: Mapping[str, Any]) -> list[str]:
    head = f"{'accuracy (95 % interval by patient)':<38}{'as it is':<26}{'probe retrained':<26}{'majority':>8}"
    lines = [head]
    for name, view in views.items():
        known = view["retrained"] or view["as_is"]
        majority = "-" if known is None else f"{known['majority']:.3f}"
        lines.append(f"{name:<38}{_accuracy(view['as_is']):<26}{_accuracy(view['retrained']):<26}{majority:>8}")
    return lines


def _accuracy(answers: Mapping[str, Any] | None) -> str:
    if answers is None:
        return "-"
    return f"{answers['accuracy']:.3f} {_bounds(answers['accuracy_interval'])}"


def _finding(row: Mapping[str, Any]) -> list[str]:
    value = "-" if row["value"] is None else f"{row['value']:.3f} {_bounds(row['interval'])}".strip()
    head = f"  {row['verdict'].upper():<14}{row['question']:<32}{row['measure']:<36}{value}"
    return [head, *textwrap.wrap(row["detail"], WIDTH, initial_indent=" " * 16, subsequent_indent=" " * 16)]


def _bounds(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"({interval[0]:.3f} to {interval[1]:.3f})"
