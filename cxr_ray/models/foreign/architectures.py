"""Names that `--architecture` takes: the table of backbones, names of timm, and published encoders of radiographs."""

import difflib
from dataclasses import dataclass

from cxr_ray.config.backbones import BACKBONES, IMAGENET_MEAN
from cxr_ray.errors import ConfigError
from cxr_ray.models.biomedclip import CLIP_MEAN, CLIP_STD
from cxr_ray.models.foreign.preprocessing import Preprocessing, of_timm
from cxr_ray.models.light_import import import_without_compiler


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """A network of timm and the preprocessing of its usual weights.

    Attributes:
        timm_name: timm's name, without the tag of its weights.
        preprocessing: preprocessing of these weights; a description beside the weights goes before it unless
            `is_published` is true.
        is_published: whether the name stands for one published model, whose preprocessing is known.
        findings: whether each output is a finding of its own, which may be present together with others.
        licence: licence of the weights that a name with a tag stands for; None if the name has no tag.
    """

    timm_name: str
    preprocessing: Preprocessing
    is_published: bool = False
    findings: bool = False
    licence: str | None = None


PUBLISHED = {
    "torchxrayvision_densenet121": Architecture(
        timm_name="densenet121",
        # TorchXRayVision scales pixels to -1024..1024 (its `datasets.normalize`).
        preprocessing=Preprocessing(
            mean=(0.5,) * 3, std=(1 / 2048,) * 3, image_size=224, interpolation="bilinear",
            crops="the centre square", origin="TorchXRayVision",
        ),
        is_published=True,
        findings=True,
    ),
    "rad_dino": Architecture(
        timm_name="vit_base_patch14_dinov2",
        preprocessing=Preprocessing(
            mean=(0.5307,) * 3, std=(0.2583,) * 3, image_size=518, interpolation="bicubic",
            crops="the centre square", origin="RAD-DINO",
        ),
        is_published=True,
    ),
    "biomedclip": Architecture(
        timm_name="vit_base_patch16_224",
        preprocessing=Preprocessing(
            mean=CLIP_MEAN, std=CLIP_STD, image_size=224, interpolation="bicubic",
            crops="the centre square", origin="BiomedCLIP",
        ),
        is_published=True,
    ),
}  # fmt: skip
"""Published models, by the name in `--architecture`."""


def architecture_of(name: str, *, needs_timm_preprocessing: bool = False) -> Architecture:
    """Find the architecture called `name`.

    Args:
        name: a key of `PUBLISHED` or `BACKBONES`, or timm's name, with or without the tag of its weights.
        needs_timm_preprocessing: True takes timm's preprocessing also for a backbone of the table, whose weights are
            otherwise taken to be trained with the mean and standard deviation of the table, mostly ImageNet's, as by most
            scripts.

    Raises:
        ConfigError: if there is no such name; similar names are proposed.
    """
    if name in PUBLISHED:
        return PUBLISHED[name]
    timm = import_without_compiler("timm")
    timm_name, _, tag = (BACKBONES[name].timm_name if name in BACKBONES else name).partition(".")
    given = (
        timm.get_pretrained_cfg(name if tag else timm_name, allow_unregistered=True)
        if timm.is_model(timm_name)
        else None
    )
    if given is None:
        similar = difflib.get_close_matches(name, [*PUBLISHED, *BACKBONES, *timm.list_models()], 3)
        known = f"similar names are {', '.join(similar)}" if similar else "timm.list_models() lists the names"
        raise ConfigError(f"no architecture {name!r}; {known}")
    usual = of_timm(given.to_dict(), f"timm's settings of {given.architecture or timm_name}")
    key = backbone_of(timm_name)
    if key is not None and not (tag or needs_timm_preprocessing):
        own = BACKBONES[key]
        whose = "ImageNet's" if own.mean == IMAGENET_MEAN else f"those of the published {key}"
        usual = Preprocessing(
            mean=own.mean, std=own.std, image_size=usual.image_size, interpolation="bilinear",
            origin=f"{whose}, assumed; --mean and --std give others",
        )  # fmt: skip
    return Architecture(timm_name=timm_name, preprocessing=usual, licence=given.license if tag else None)


def backbone_of(timm_name: str) -> str | None:
    """Key of the table for the backbone that timm calls `timm_name`; None for any other network."""
    return next((name for name, backbone in BACKBONES.items() if backbone.timm_name == timm_name), None)
