"""The backbones, by one table; a new one is one line of it. Free of torch, so that `--help` can show the choice."""

from dataclasses import dataclass
from typing import Annotated

import tyro

from cxr_ray.config.checks import require


@dataclass(frozen=True, slots=True)
class Backbone:
    """How timm knows a backbone, and what it likes."""

    timm_name: str
    channels_last: bool
    """Convolutions run faster with channels last; measured, a ViT does not."""
    scratch_rate: float
    """Peak learning rate of AdamW that suits random weights, batches of 32, one cycle and clipped gradients."""
    patch_size: int | None = None
    """Pixels a side of a ViT's patches, for whose grid at one image size position embeddings are learned."""


BACKBONES = {
    "vit_b16": Backbone("vit_base_patch16_224", channels_last=False, scratch_rate=3e-4, patch_size=16),
    "resnet50": Backbone("resnet50", channels_last=True, scratch_rate=1e-3),
    "efficientnet_b0": Backbone("efficientnet_b0", channels_last=True, scratch_rate=3e-3),
    "densenet121": Backbone("densenet121", channels_last=True, scratch_rate=1e-3),
}
"""Every backbone by the name that `--backbone`, recipes and model cards give it; all else follows from this table."""

_CHOICE = f"{{{','.join(BACKBONES)}}}"
BackboneName = Annotated[str, tyro.conf.arg(metavar=_CHOICE)]
"""Type of an option that names a backbone; `--help` shows the table's names, `require_backbone` checks the value."""
BackboneNames = Annotated[tuple[str, ...], tyro.conf.arg(metavar=f"[{_CHOICE} [...]]")]
"""Type of an option that names several backbones, each checked by `require_backbone`."""


def require_backbone(name: str) -> None:
    """Raise a `ConfigError` that names the choice unless `name` is a key of `BACKBONES`."""
    require(name in BACKBONES, "backbone", name, f"one of {', '.join(BACKBONES)}")
