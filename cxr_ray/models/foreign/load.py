"""Load foreign weights into a network of timm at their own image size, and compare it with the source's network."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cxr_ray.errors import BundleError
from cxr_ray.models.backbones import build_network
from cxr_ray.models.foreign.fitting import Fit, fit
from cxr_ray.models.foreign.positions import grid_side
from cxr_ray.models.foreign.reference import refuse_other_function
from cxr_ray.models.foreign.source import Source

if TYPE_CHECKING:
    from torch import nn

SIGNIFICANT_EPS = 1e-6
"""Difference of a layer norm's epsilon that matters; transformers' ViT has 1e-12 and timm's 1e-6."""
ANY_IMAGE_SIZE = 224
"""Image size for networks whose tensors do not depend on it."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """Foreign weights in a network of timm.

    Attributes:
        network: the network with the body of the weights and a head of no meaning, in eval mode.
        tensors: the tensors that fit.
        options: arguments of `timm.create_model` that differ from the architecture's defaults.
        image_size: image size of the weights; None for a network that takes any size.
        compared_with: name of the source's own network, which gave the same features; None if none could be built.
    """

    network: "nn.Module"
    tensors: Fit
    options: dict[str, Any]
    image_size: int | None
    compared_with: str | None


def load_foreign(source: Source, timm_name: str, *, compares: bool = True) -> Loaded:
    """Load `source` into timm's network `timm_name`, or refuse it.

    Args:
        source: the weights.
        timm_name: timm's name of the architecture.
        compares: False skips the comparison with the source's own network, for weights that were compared before.

    Raises:
        BundleError: if the tensors do not fit, give other features than the source's network, or are not finite.
    """
    import torch

    _refuse_other_activation(source, timm_name)
    with torch.device("meta"):
        plain = build_network(timm_name, num_classes=0, image_size=ANY_IMAGE_SIZE, options={})
    options, image_size = _options(source, plain)
    outputs = next((shape[0] for name, shape in source.shapes.items() if name.endswith("head/bias")), 1)
    network = build_network(timm_name, num_classes=outputs, image_size=ANY_IMAGE_SIZE, options=options)
    tensors = fit(source, network, timm_name)
    if damaged := [name for name, tensor in tensors.body.items() if not tensor.isfinite().all()]:
        raise BundleError(f"{source.uri}: {damaged[0]} holds NaN or infinity; take a checkpoint of an earlier epoch")
    network.load_state_dict(tensors.body, strict=False)
    network.eval()
    side = image_size or ANY_IMAGE_SIZE
    compared_with = refuse_other_function(source, network, timm_name, image_size=side) if compares else None
    return Loaded(network=network, tensors=tensors, options=options, image_size=image_size, compared_with=compared_with)


def _options(source: Source, plain: "nn.Module") -> tuple[dict[str, Any], int | None]:
    """Arguments of `timm.create_model` that follow from the tensors, and the image size of the weights.

    Args:
        source: the weights.
        plain: the network without arguments, on any device.
    """
    options: dict[str, Any] = {}
    if any(name.startswith("fc_norm.") for name in source.shapes):
        options["global_pool"] = "avg"
    config = getattr(source.network, "config", None)
    wanted, own = getattr(config, "layer_norm_eps", None), getattr(getattr(plain, "norm", None), "eps", None)
    if wanted is not None and own is not None and abs(wanted - own) > SIGNIFICANT_EPS:
        options["norm_eps"] = wanted
    patches = getattr(plain, "patch_embed", None)
    if getattr(plain, "pos_embed", None) is None or patches is None:
        return options, None
    side, patch = grid_side(source.shapes), int(patches.patch_size[0])
    default = int(patches.img_size[0])
    image_size = default if side is None else side * patch
    if image_size != default:
        options["img_size"] = image_size
    return options, image_size


def _refuse_other_activation(source: Source, timm_name: str) -> None:
    """Refuse a tower of CLIP whose description names another activation; no tensor shows which one it is.

    Raises:
        BundleError: if the activation is another.
    """
    if source.quick_gelu is None or "_clip_" not in timm_name or ("quickgelu" in timm_name) == source.quick_gelu:
        return
    quick = timm_name.replace("_clip_", "_clip_quickgelu_")
    right = quick if source.quick_gelu else timm_name.replace("_quickgelu", "")
    activation = "QuickGELU" if source.quick_gelu else "GELU"
    raise BundleError(f"{source.uri} is a CLIP tower with the activation {activation}; name --architecture {right}")
