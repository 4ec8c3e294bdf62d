"""Networks of segmenters, nnU-Net's plain U-Net, and the bundle that holds an ensemble of them."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from cxr_ray.errors import BundleError
from cxr_ray.imaging.raster import DECODING
from cxr_ray.models.bundle import ModelCard

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cxr_ray.models.plain_unet import PlainUNet

KIND = "segmenter"
MIN_SPREAD = 1.0
"""Minimum standard deviation, in grey values, by which `standardised` divides; below it an image counts as flat."""


@dataclass(frozen=True, kw_only=True)
class SegmenterCard(ModelCard):
    """Content of `model.json` in the bundle of a segmenter; each image is standardised by its own mean and deviation."""

    kind: str = KIND
    backbone: str = "dynunet"
    labels: tuple[str, ...] = ("lung",)
    filters: Annotated[tuple[int, ...], Field(min_length=3)]
    """Number of channels of each level, from full resolution down."""
    members: Annotated[int, Field(ge=1)]
    """Number of networks; a weight of network N is called `N.NAME`, where NAME is that of `PlainUNet.named_weights`."""
    mirrored: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Scale at which networks also segment the mirror image, in a black margin if below 1; 0 switches this off."""

    @property
    def preprocessing_id(self) -> str:
        """Hash of the preprocessing: 12 hex digits that change with anything that changes the model's input pixels."""
        views = [f"mirrored at {self.mirrored}"] if self.mirrored else []
        recipe = json.dumps([self.image_size, self.interpolation, "squash", DECODING, "standardised", *views])
        return hashlib.sha256(recipe.encode()).hexdigest()[:12]


def build_segmenter_network(filters: Sequence[int], *, deep_supervision: int = 0) -> "PlainUNet":
    """Build a network with random weights: float32 [N, 1, S, S] of `standardised` -> logits of the foreground.

    The logits are [N, 1, S, S]; in training mode with deep supervision they are [N, 1 + deep_supervision, 1, S, S],
    those of full resolution first.

    Args:
        filters: number of channels of each level, from full resolution down; S is a multiple of 2 ** (levels - 1).
        deep_supervision: number of levels below full resolution that also give logits in training mode; 0 for none.

    Raises:
        ValueError: if `deep_supervision` is negative, or exceeds the number of levels less two.
    """
    from cxr_ray.models.plain_unet import PlainUNet

    return PlainUNet(filters, deep_supervision=deep_supervision)


def suited_to_cpu(network: "PlainUNet") -> "PlainUNet":
    """Convert `network`, in place, to channels last and each instance norm to a group norm of one channel per group.

    Weights and their names stay, and outputs change only by rounding. On two cores the network scores 1.5 times and
    trains 1.4 times as fast in fp32; in bf16 it scores 1.3 times as fast but trains slower.
    """
    import torch
    from torch import nn

    grouped: dict[nn.Module, nn.Module] = {}
    for parent in list(network.modules()):
        for name, norm in list(parent.named_children()):
            if isinstance(norm, nn.InstanceNorm2d):
                if norm not in grouped:  # two parents share each norm
                    grouped[norm] = _group_norm(norm)
                setattr(parent, name, grouped[norm])
    network.to(memory_format=torch.channels_last)
    return network


def _group_norm(norm: "nn.InstanceNorm2d") -> "nn.GroupNorm":
    """A group norm of one channel per group that computes the same as `norm` and shares its parameters."""
    from torch import nn

    grouped = nn.GroupNorm(norm.num_features, norm.num_features, eps=norm.eps, device="meta")
    grouped.weight, grouped.bias = norm.weight, norm.bias
    return grouped


def standardised(grey: "torch.Tensor") -> "torch.Tensor":
    """Scale each image of float [N, 1, H, W], of any range, to mean 0 and standard deviation 1 in float32."""
    deviation, mean = grey.float().std((1, 2, 3), keepdim=True), grey.float().mean((1, 2, 3), keepdim=True)
    return (grey - mean) / deviation.clamp_min(MIN_SPREAD)


def member_weights(network: "PlainUNet") -> "dict[str, torch.Tensor]":
    """Copies, on the CPU, of the weights on which the output of `network` depends, by their names in a bundle."""
    heads = "deep_supervision_heads."
    named = {name: tensor for name, tensor in network.named_weights().items() if not name.startswith(heads)}
    return {name: tensor.detach().cpu().clone() for name, tensor in named.items()}


def ensemble_weights(members: "Sequence[Mapping[str, torch.Tensor]]") -> "dict[str, torch.Tensor]":
    """Weights of all networks of an ensemble, by their names in a bundle."""
    return {f"{i}.{name}": tensor for i, member in enumerate(members) for name, tensor in member.items()}


def load_members(uri: str, card: SegmenterCard, weights: "Mapping[str, torch.Tensor]") -> "list[PlainUNet]":
    """Build the networks of an ensemble from `weights`, in eval mode, on the CPU.

    Raises:
        BundleError: if `weights` do not fit the networks of `card`; the message names the bundle, `uri`.
    """
    import torch

    members = [build_segmenter_network(card.filters) for _ in range(card.members)]
    expected = ensemble_weights([member.named_weights() for member in members])
    shapes = {name: list(tensor.shape) for name, tensor in expected.items()}
    if wrong := {
        n for n in shapes.keys() | weights.keys() if n not in weights or list(weights[n].shape) != shapes.get(n)
    }:
        raise BundleError(
            f"{uri}: weights do not fit {card.members} U-Nets of {card.filters}: "
            f"{min(wrong)} is missing, unknown or of another shape; train the segmenter again"
        )
    with torch.no_grad():
        for name, tensor in expected.items():
            tensor.copy_(weights[name])
    return [member.eval() for member in members]
