"""What descriptions beside foreign weights say of the pixels that the network expects."""

from dataclasses import dataclass
from typing import Any

from cxr_ray.errors import BundleError

RESAMPLINGS = {1: "lanczos", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of interpolations, as preprocessor_config.json gives them."""
LEVELS = 255


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """Preprocessing of pixels in 0 to 1; None where the description says nothing.

    Attributes:
        mean: mean of each channel.
        std: standard deviation of each channel.
        image_size: height and width in pixels.
        interpolation: name of the interpolation.
        crops: what the source cuts off before the network sees an image, in words; None if it shows the whole image.
        origin: name of the file that gives mean and standard deviation.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    image_size: int | None = None
    interpolation: str | None = None
    crops: str | None = None
    origin: str | None = None


def preprocessing_of(config: dict[str, Any], processor: dict[str, Any], clip: dict[str, Any]) -> Preprocessing:
    """Read the preprocessing from config.json, preprocessor_config.json and open_clip_config.json; {} for each missing one.

    Raises:
        BundleError: if preprocessor_config.json asks for a normalisation that mean and standard deviation cannot express.
    """
    if processor:
        return _of_transformers(processor, config)
    if timm := config.get("pretrained_cfg"):
        return of_timm(timm, "config.json")
    if clip:
        given, vision = clip.get("preprocess_cfg", {}), clip.get("model_cfg", {}).get("vision_cfg", {})
        return Preprocessing(
            mean=_numbers(given.get("mean")),
            std=_numbers(given.get("std")),
            image_size=vision.get("image_size"),
            interpolation=given.get("interpolation", "bicubic"),
            crops="the centre square",
            origin="open_clip_config.json" if given.get("mean") else None,
        )
    return Preprocessing(image_size=_side(config.get("image_size")))


def of_timm(given: dict[str, Any], origin: str) -> Preprocessing:
    """Preprocessing of timm's `pretrained_cfg`."""
    fraction = given.get("crop_pct") or 1
    return Preprocessing(
        mean=_numbers(given.get("mean")),
        std=_numbers(given.get("std")),
        image_size=_side((given.get("input_size") or [None])[-1]),
        interpolation=given.get("interpolation") or None,
        crops=f"the centre {fraction:g} of each side" if fraction < 1 else None,
        origin=origin,
    )


def _of_transformers(given: dict[str, Any], config: dict[str, Any]) -> Preprocessing:
    if given.get("rescale_offset"):
        raise BundleError(
            "preprocessor_config.json shifts pixels before it normalises them (rescale_offset); name the mean and standard "
            "deviation of pixels in 0 to 1 by --mean and --std"
        )
    mean, std = given.get("image_mean") or [0.0] * 3, given.get("image_std") or [1.0] * 3
    if not given.get("do_normalize", True):
        mean, std = [0.0] * 3, [1.0] * 3
    elif given.get("include_top"):  # EfficientNet's processor then divides by the deviation a second time
        std = [value * value for value in std]
    factor = LEVELS * (given.get("rescale_factor") or 1 / LEVELS) if given.get("do_rescale", True) else LEVELS
    crops = given.get("do_center_crop", False)
    size = given.get("crop_size") if crops else given.get("size")
    return Preprocessing(
        mean=_numbers([value / factor for value in mean]),
        std=_numbers([value / factor for value in std]),
        image_size=_side(size) or _side(config.get("image_size")),
        interpolation=RESAMPLINGS.get(given.get("resample", 2)),
        crops="the centre square" if crops else None,
        origin="preprocessor_config.json",
    )


def _side(size: Any) -> int | None:
    """Side of the square in pixels: a number, or {"height": ...} or {"shortest_edge": ...}."""
    if isinstance(size, dict):
        size = size.get("height") or size.get("shortest_edge")
    return int(size) if isinstance(size, int | float) else None


def _numbers(values: Any) -> tuple[float, ...] | None:
    return tuple(map(float, values)) if isinstance(values, list | tuple) and values else None
