"""Comparison of two commands: whether a run does the same work as an earlier run, and so may continue its output."""

import json
import shlex
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import Any

from cxr_ray.errors import ResumeError

MAY_CHANGE: Mapping[str, bool] = MappingProxyType({"may_change": True})
"""Metadata of an option that a run may change and still continue an earlier output; no row or weight depends on its value.

Every option without this metadata is part of the identity; a new option needs no entry in a list.
"""
START_OVER = "choose another --output-uri, or --overwrite to start over"


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkIdentity:
    """The values and columns that must be equal for a run to continue the work in an output.

    Attributes:
        values: JSON values by name: options of the config, and facts that follow from them, such as the id of a model.
            An output stores these values in a JSON file.
        columns: Arrow types of the columns of the rows, by name and in order; empty for work that writes no rows. An
            output stores these types in its Parquet files.
    """

    values: dict[str, Any]
    columns: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls, config: Any, *, columns: Mapping[str, str] | None = None, idle: Collection[str] = (), **facts: object
    ) -> "WorkIdentity":
        """Make the identity of the work that `config` describes.

        Args:
            config: a dataclass; each of its options is part of the identity unless its metadata contains `MAY_CHANGE`.
            columns: Arrow types of the columns that the work writes, by name.
            idle: options that change nothing for this config.
            facts: further values of the identity; a fact with the name of an option replaces the option.
        """
        left_out = {option.name for option in fields(config) if option.metadata.get("may_change")} | set(idle)
        options = {name: value for name, value in asdict(config).items() if name not in left_out}
        values = json.loads(json.dumps(options | facts))  # turns tuples into lists, as in the file of an output
        return cls(values=values, columns=dict(columns or {}))

    def to_json(self) -> bytes:
        """Encode the values as JSON, for the file that an output stores; `held_values` reads it."""
        return json.dumps(self.values, indent=2).encode()

    def difference(self, held: Mapping[str, Any]) -> str | None:
        """Describe the first value in which an output with the values `held` differs; None if there is no difference.

        The description is a phrase that starts with "made" and names the values.
        """
        for name, value in self.values.items():
            if name not in held:
                return f"made by another version of cxr_ray, which did not note {name}; this command has {name} {_as_text(value)}"
            if held[name] != value:
                return f"made with {name} {_as_text(held[name])}; this command has {name} {_as_text(value)}"
        for name in sorted(held.keys() - self.values.keys()):
            return f"made with {name} {_as_text(held[name])}, which this version of cxr_ray does not know"
        return None

    def column_difference(self, held: Mapping[str, str]) -> str | None:
        """Describe the first difference between the column types `held` of an output and `columns`; None if there is none.

        The description is a phrase that starts with "with" or "without".
        """
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
    """Decode the values that `WorkIdentity.to_json` encoded.

    Args:
        data: content of the file.
        uri: URI of the file, which errors name.

    Raises:
        ResumeError: if `data` is not a JSON object.
    """
    try:
        values = json.loads(data)
    except ValueError as error:
        raise ResumeError(f"{uri} is damaged; {START_OVER}") from error
    if not isinstance(values, dict):
        raise ResumeError(f"{uri} is damaged: it holds no JSON object; {START_OVER}")
    return values


def _as_text(value: object) -> str:
    """A JSON value as text on one line."""
    if value is None or value in ("", [], {}):
        return "none"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return shlex.join(value)
    return json.dumps(value)


def _first(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
