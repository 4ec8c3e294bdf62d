"""Classification networks of the table `BACKBONES`, built by timm."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cxr_ray.config.backbones import BACKBONES
from cxr_ray.errors import ConfigError
from cxr_ray.models.light_import import import_without_compiler

if TYPE_CHECKING:
    from torch import nn

HEAD_STD = 0.01
"""Standard deviation of the random weights of a new head."""


def build_backbone(
    name: str,
    *,
    num_classes: int,
    image_size: int,
    pretrained: bool = False,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> "nn.Module":
    """Build a classification network: float [N, 3, image_size, image_size] -> logits [N, num_classes].

    Its head is new and gives all classes about the same probability at first. timm draws the weights of EfficientNet's
    head from a range of 1 / sqrt(num_classes), which suits a thousand classes; with four, the first logits differ so
    much that training needs its first epochs to correct them.

    Args:
        name: a key of `BACKBONES`.
        num_classes: number of logits; 0 builds an encoder, whose outputs are the features before the head.
        image_size: height and width in pixels; a ViT pads images up to whole patches.
        pretrained: True starts from timm's ImageNet weights, which timm downloads from its hub.
        dropout: probability with which a training sets a feature to 0 before the head.
        drop_path: probability with which a training skips the last residual block; only where the backbone has any.

    Raises:
        ConfigError: if `name` is not a key of `BACKBONES`.
    """
    from torch import nn

    timm = import_without_compiler("timm")

    if name not in BACKBONES:
        raise ConfigError(f"no backbone {name!r}; choose one of {', '.join(BACKBONES)}")
    backbone = BACKBONES[name]
    options: dict[str, Any] = {"drop_rate": dropout} if dropout else {}
    options |= {"drop_path_rate": drop_path} if drop_path else {}
    if patch := backbone.patch_size:
        # timm pads images to whole patches, but would learn embeddings only for patches that lie wholly in image_size
        padded = -(-image_size // patch) * patch
        options |= {"img_size": padded, "dynamic_img_size": True, "dynamic_img_pad": True}
    model = timm.create_model(backbone.timm_name, pretrained=pretrained, num_classes=num_classes, **options)
    if num_classes:
        head = classifier_head(model)
        nn.init.normal_(head.weight, std=HEAD_STD)
        nn.init.zeros_(head.bias)
    if not pretrained:
        _pass_residuals_by(model)
    return model


def build_network(
    name: str, *, num_classes: int, image_size: int, options: Mapping[str, Any] | None = None
) -> "nn.Module":
    """Build the network of a bundle, whose weights are loaded next: a backbone of the table, or any network of timm.

    Args:
        name: a key of `BACKBONES` if `options` is None, else timm's name of an architecture.
        num_classes: number of logits; 0 builds an encoder, whose outputs are the features before the head.
        image_size: height and width in pixels.
        options: arguments of `timm.create_model`; `norm_eps` is the epsilon of all normalisation layers.

    Raises:
        ConfigError: if `name` is not a key of `BACKBONES`, or timm cannot build `name` with `options`.
    """
    if options is None:
        return build_backbone(name, num_classes=num_classes, image_size=image_size)
    timm = import_without_compiler("timm")
    arguments = dict(options)
    norm_eps = arguments.pop("norm_eps", None)
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, num_classes=num_classes, **arguments)
    except (RuntimeError, TypeError, ValueError, AssertionError) as error:
        raise ConfigError(f"timm builds no network {name!r} with {dict(options)}: {error}") from error
    if norm_eps is not None:
        for module in model.modules():
            if hasattr(module, "eps"):
                module.eps = norm_eps
    return model


def is_channels_last(name: str, model: "nn.Module") -> bool:
    """Whether the channels-last memory format makes the network faster: it does for convolutions, not for a ViT."""
    known = BACKBONES.get(name)
    return known.channels_last if known else not hasattr(model, "patch_embed")


def _pass_residuals_by(model: "nn.Module") -> None:
    """Initialise each residual block of EfficientNet as the identity, as timm does for ResNet.

    The method is that of Goyal et al. 2017, arXiv:1706.02677, section 5.1.
    """
    from torch import nn

    for block in model.modules():
        if getattr(block, "has_skip", False):
            norms = [layer for layer in block.modules() if isinstance(layer, nn.BatchNorm2d)]
            if norms:
                nn.init.zeros_(norms[-1].weight)


def classifier_head(model: "nn.Module") -> "nn.Linear":
    """The last layer of a backbone, the only layer whose shape depends on the number of labels."""
    head: nn.Linear = model.get_classifier()  # type: ignore[operator]
    return head
