"""Checks of values that all configs use; their errors name the field, the bad value and what is allowed."""

from dataclasses import fields
from typing import TYPE_CHECKING

from cxr_ray.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def require(condition: bool, name: str, value: object, allowed: str) -> None:
    """Raise a `ConfigError` such as `batch_size must be >= 1; got 0` unless `condition` is true.

    Args:
        condition: whether the value is allowed.
        name: name of the field.
        value: value of the field, which the message shows.
        allowed: the allowed values, in words that follow "must be".
    """
    if not condition:
        raise ConfigError(f"{name} must be {allowed}; got {value!r}")


def require_default(config: "DataclassInstance", *names: str, needs: str) -> None:
    """Raise a `ConfigError` if a field that has no effect is set to something else than its default.

    Args:
        config: the config.
        names: names of the fields.
        needs: what the fields would have an effect with, in words that follow "without".
    """
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in names and value != field.default:
            raise ConfigError(
                f"{field.name} {value!r} changes nothing without {needs}; add that, or leave {field.name} at {field.default!r}"
            )
