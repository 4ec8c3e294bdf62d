"""Table of the backbones, one line for each; it loads without torch, so that `--help` can list the backbones at once."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from cxr_ray.config.checks import require

PerChannel = tuple[float, float, float]
IMAGENET_MEAN: PerChannel = (0.485, 0.456, 0.406)
IMAGENET_STD: PerChannel = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Backbone:
    """Name of a backbone in timm, and settings that suit the backbone."""

    timm_name: str
    channels_last: bool
    """Whether the channels-last memory format makes the backbone faster; measured, it does for convolutions, not for a ViT."""
    scratch_rate: float
    """Peak learning rate of AdamW that suits random weights, batches of 32 images, one cycle and clipped gradients."""
    patch_size: int | None = None
    """Pixels per side of a patch of a ViT, whose position embeddings depend on the image size; None for other backbones."""
    skips_blocks: bool = True
    """Whether stochastic depth can skip its residual blocks; a DenseNet has none."""
    mean: PerChannel = IMAGENET_MEAN
    """Mean of pixels in 0 to 1 that the published weights take, and with which random weights are trained, too."""
    std: PerChannel = IMAGENET_STD
    """Standard deviation of pixels in 0 to 1."""


BACKBONES = {
    "vit_b16": Backbone("vit_base_patch16_224", channels_last=False, scratch_rate=3e-4, patch_size=16),
    "resnet50": Backbone("resnet50", channels_last=True, scratch_rate=1e-3),
    "efficientnet_b0": Backbone("efficientnet_b0", channels_last=True, scratch_rate=3e-3),
    "densenet121": Backbone("densenet121", channels_last=True, scratch_rate=1e-3, skips_blocks=False),
    "efficientnet_lite0": Backbone(
        "tf_efficientnet_lite0", channels_last=True, scratch_rate=3e-3, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)
    ),
}
"""Every backbone, by its name in `--backbone`, in recipes and in model cards."""

_CHOICE = f"{{{','.join(BACKBONES)}}}"
BackboneName = Annotated[str, tyro.conf.arg(metavar=_CHOICE)]
"""Type of an option that names a backbone; `--help` shows the table's names, `require_backbone` checks the value."""
BackboneNames = Annotated[tuple[str, ...], tyro.conf.arg(metavar=f"[{_CHOICE} [...]]")]
"""Type of an option that names several backbones, each checked by `require_backbone`."""


def require_backbone(name: str) -> None:
    """Check that `name` is a key of `BACKBONES`.

    Raises:
        ConfigError: if `name` is no key; the message lists all keys.
    """
    require(name in BACKBONES, "backbone", name, f"one of {', '.join(BACKBONES)}")
