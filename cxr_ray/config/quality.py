"""Names of the flags of an image's quality, and the check of a choice of them."""

from cxr_ray.config.checks import require

QC_FLAGS = (
    "inverted",
    *("rotated_90", "rotated_180", "rotated_270"),
    *("clipped_bright", "clipped_dark"),
    *("burned_in_text", "lateral", "not_chest"),
)
"""Flags of the quality of an image, in the order in which a row lists them."""


def require_flags(flags: tuple[str, ...]) -> None:
    """Raise a `ConfigError` unless every one of `exclude_flags` is a flag."""
    for flag in flags:
        require(flag in QC_FLAGS, "exclude_flags", flag, f"some of {', '.join(QC_FLAGS)}")
