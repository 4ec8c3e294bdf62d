"""Whether two commands do the same work: what a run must share with an earlier one to continue its output."""

import json
import shlex
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any

from cxr_ray.errors import ResumeError

MAY_CHANGE: Mapping[str, bool] = MappingProxyType({"may_change": True})
"""Metadata of an option that a run may change and yet continue an earlier one's output: no row or weight depends on its value.

Every other option of a config is part of the identity, a new one without being listed anywhere.
"""
START_OVER = "choose another --output-uri, or --overwrite to start over"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkIdentity:
    """What must be equal for a run to continue the work in an output.

    Attributes:
        values: by name, as JSON has them: the options of the config that count, and facts about what they lead to, such as
            the id of a model. An output keeps them in a file of its own.
        columns: Arrow types of the rows' columns, in their order; empty for work that writes no rows. An output keeps
            them in its Parquet files.
    """

    values: dict[str, Any]
    columns: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, config: Any, *, columns: Mapping[str, str] | None = None, idle: Collection[str] = (), **facts: object
    ) -> "WorkIdentity":
        """The identity of what `config` asks for.

        Args:
            config: a dataclass. Each of its options counts unless its metadata is `MAY_CHANGE`.
            columns: Arrow types of the columns that the work writes, by name.
            idle: options that change nothing for this config.
            facts: further values that count; one with the name of an option comes in its place.
        """
        left_out = {option.name for option in fields(config) if option.metadata.get("may_change")} | set(idle)
        options = {name: value for name, value in asdict(config).items() if name not in left_out}
        values = json.loads(json.dumps(options | facts))  # where tuples are lists
        return cls(values=values, columns=dict(columns or {}))

    def to_json(self) -> bytes:
        """The values, to be kept in an output."""
        return json.dumps(self.values, indent=2).encode()

    def difference(self, held: Mapping[str, Any]) -> str | None:
        """The first value in which the work of an output, with the values `held`, differs; a phrase that starts with "made"."""
        for name, value in self.values.items():
            if name not in held:
                return f"made by another version of cxr_ray, which did not note {name}; this command has {name} {_said(value)}"
            if held[name] != value:
                return f"made with {name} {_said(held[name])}; this command has {name} {_said(value)}"
        for name in sorted(held.keys() - self.values.keys()):
            return f"made with {name} {_said(held[name])}, which this version of cxr_ray does not know"
        return None

    def column_difference(self, held: Mapping[str, str]) -> str | None:
        """How columns of the types `held` differ from those that the work writes; a phrase that starts with "with"."""
        if lacking := [name for name in self.columns if name not in held]:
            return f"without the column {_first(lacking)}, which this command writes"
        if unknown := [name for name in held if name not in self.columns]:
            return f"with the column {_first(unknown)}, which this command does not write"
        for name, kind in self.columns.items():
            if held[name] != kind:
                return f"with the column {name} of type {held[name]}; this command writes the type {kind}"
        if list(held) != list(self.columns):
            return "with their columns in another order than this command writes them"
        return None


def held_values(data: bytes, uri: str) -> dict[str, Any]:
    """The values that `WorkIdentity.to_json` gave, out of the file at `uri`.

    Raises:
        ResumeError: if they are damaged.
    """
    try:
        values = json.loads(data)
    except ValueError as error:
        raise ResumeError(f"{uri} is damaged; {START_OVER}") from error
    if not isinstance(values, dict):
        raise ResumeError(f"{uri} is damaged: it holds no JSON object; {START_OVER}")
    return values


def _said(value: object) -> str:
    """A value in words, on one line."""
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return shlex.join(value)
    return json.dumps(value)


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
