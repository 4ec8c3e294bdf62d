"""Checks that configs share; each names the field, the bad value and what is allowed."""

from cxr_ray.errors import ConfigError


def require(condition: bool, name: str, value: object, mend: str) -> None:
    """Raise a `ConfigError` such as `batch_size must be >= 1; got 0` unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{name} must be {mend}; got {value!r}")
