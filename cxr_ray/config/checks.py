"""Check of a value that all configs use; its error names the field, the bad value and the allowed values."""

from cxr_ray.errors import ConfigError


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
