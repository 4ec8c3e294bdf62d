"""Classifiers of the table of backbones, built by timm."""

from typing import TYPE_CHECKING

from cxr_ray.config.backbones import BACKBONES
from cxr_ray.errors import ConfigError

if TYPE_CHECKING:
    from torch import nn

HEAD_STD = 0.01


def build_backbone(name: str, *, num_classes: int, image_size: int, pretrained: bool = False) -> "nn.Module":
    """A classifier: float [N, 3, image_size, image_size] -> logits [N, num_classes].

    Its head is new, and finds every class about as likely as another. timm draws EfficientNet's from a range of 1 /
    sqrt(num_classes), which suits a thousand classes: of four, the logits start so far apart that the first epochs are
    spent on taking them back.

    Args:
        name: a key of `BACKBONES`.
        num_classes: outputs, at least 1.
        image_size: pixels a side; a ViT pads it up to whole patches of 16.
        pretrained: start from timm's ImageNet weights, fetched from its hub.

    Raises:
        ConfigError: if there is no such backbone.
    """
    import timm
    from torch import nn

    if name not in BACKBONES:
        raise ConfigError(f"no backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    backbone = BACKBONES[name]
    grid = {}
    if patch := backbone.patch_size:
        # timm pads images to whole patches but would learn embeddings only for those that image_size holds whole
        padded = -(-image_size // patch) * patch
        grid = {"img_size": padded, "dynamic_img_size": True, "dynamic_img_pad": True}
    model = timm.create_model(backbone.timm_name, pretrained=pretrained, num_classes=num_classes, **grid)
    head = classifier_head(model)
    nn.init.normal_(head.weight, std=HEAD_STD)
    nn.init.zeros_(head.bias)
    if not pretrained:
        _pass_residuals_by(model)
    return model


def _pass_residuals_by(model: "nn.Module") -> None:
    """Let each residual block of EfficientNet begin as the identity, as timm lets those of ResNet.

    Goyal et al. 2017, arXiv:1706.02677, section 5.1.
    """
    from torch import nn

    for block in model.modules():
        if getattr(block, "has_skip", False):
            norms = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)]
            if norms:
                nn.init.zeros_(norms[-1].weight)


def classifier_head(model: "nn.Module") -> "nn.Linear":
    """The last layer of a backbone, which alone depends on the labels."""
    head: nn.Linear = model.get_classifier()  # type: ignore[operator]
    return head
