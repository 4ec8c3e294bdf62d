"""Compare the function of a loaded network with that of its source: equal names and shapes do not make equal networks.

A batch norm with another epsilon, other padding or another activation has the same tensors. Where the source's own
library can build its network, both compute the features of the same random images.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from cxr_ray.config.backbones import BACKBONES
from cxr_ray.errors import BundleError
from cxr_ray.models.backbones import build_network
from cxr_ray.models.foreign.source import Source
from cxr_ray.models.foreign.timm_names import is_efficientnet_pytorch
from cxr_ray.models.foreign.transformers_network import features_of
from cxr_ray.models.light_import import import_without_compiler

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cxr_ray.models.state_file import State

    Features = Callable[[torch.Tensor], torch.Tensor]

log = logging.getLogger("cxr_ray")

TOLERANCE = 1e-4
"""Largest difference of a feature, relative to the largest feature; rounding gives about 1e-6."""
SIDE_OF_CONVOLUTIONS = 96
"""Pixels per side of the random images for a network that takes any size."""
TENSORFLOW_EPS = 1e-3
"""Epsilon of the batch normalisation of EfficientNets in TensorFlow."""
TORCHVISION_VITS = {
    "vit_base_patch16_224": "vit_b_16",
    "vit_base_patch32_224": "vit_b_32",
    "vit_large_patch16_224": "vit_l_16",
    "vit_large_patch32_224": "vit_l_32",
    "vit_huge_patch14_224": "vit_h_14",
}


def refuse_other_function(source: Source, model: "nn.Module", timm_name: str, *, image_size: int) -> str | None:
    """Compare features of `model`, which holds the body of `source`, with those of the source's own network.

    Args:
        source: the weights.
        model: network of timm with the weights of `source` outside the head, in eval mode.
        timm_name: name of the architecture in timm.
        image_size: height and width in pixels for which `model` was built.

    Returns:
        Name of the network that gave the same features; None if no library tells the source's function.

    Raises:
        BundleError: if the features differ.
    """
    import torch

    body = dict(model.state_dict())
    side = image_size if hasattr(model, "patch_embed") else SIDE_OF_CONVOLUTIONS
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    for name, features in _references(source, body, timm_name, image_size):
        with torch.inference_mode():
            expected, found = features(images), timm_features(model, images)
        scale = max(1.0, float(expected.abs().max()))
        same = expected.shape == found.shape and float((expected - found).abs().max()) <= TOLERANCE * scale
        if not same:
            raise BundleError(
                f"{source.uri} fits {timm_name} by its names and shapes, but is {name}, which computes other features "
                f"from the same tensors; {_way_on(name)}"
            )
        return name
    return None


def timm_features(model: "nn.Module", images: "torch.Tensor") -> "torch.Tensor":
    """Features float [N, D] of a network of timm before its last layer, of images float [N, 3, S, S]."""
    features: torch.Tensor = model.forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[operator]
    return features


def _way_on(name: str) -> str:
    if name.startswith("timm's "):
        declared = name.removeprefix("timm's ")
        if (
            declared in BACKBONES and BACKBONES[declared].timm_name != declared
        ):  # timm's network needs the tag to be meant
            declared += f".{import_without_compiler('timm').get_pretrained_cfg(declared).tag}"
        return f"name --architecture {declared}"
    if "efficientnet" in name.lower():
        return "name tf_efficientnet_b0 or its kin, whose epsilon and padding are those of TensorFlow"
    if "clip" in name.lower():
        return "name vit_base_patch16_clip_quickgelu_224 or its kin for OpenAI's towers, vit_base_patch16_clip_224 for others"
    return "name an architecture of timm with the same layers"


def _references(source: Source, body: "State", timm_name: str, image_size: int) -> "list[tuple[str, Features]]":
    """Networks of the source's own library with its weights, as functions from images to features; empty if unknown."""
    if source.network is not None:
        network = source.network
        return [(f"transformers' {type(network).__name__}", lambda images: features_of(network, images))]
    if source.card is not None:
        card = source.card
        if card.network is None:
            return []  # a backbone of the table, whose tensors differ from those of the others
        own = build_network(card.backbone, num_classes=0, image_size=card.image_size, options=card.network)
        return _with_body(f"the bundle's {card.backbone}", own, body)
    state = source.checkpoint.state
    if is_efficientnet_pytorch(state):
        return _efficientnet_of_tensorflow(body, timm_name)
    if "class_token" in state or "features.0.0.weight" in state:
        return _torchvision(state, timm_name, image_size)
    return _timm(source, body, timm_name)


def _timm(source: Source, body: "State", timm_name: str) -> "list[tuple[str, Features]]":
    timm = import_without_compiler("timm")
    declared = source.checkpoint.architecture or _name_in(source.uri)
    declared = (declared or "").partition(".")[0]
    if declared == timm_name or not timm.is_model(declared):
        return []
    return _with_body(f"timm's {declared}", timm.create_model(declared, num_classes=0), body)


def _efficientnet_of_tensorflow(body: "State", timm_name: str) -> "list[tuple[str, Features]]":
    """The network with the padding and the epsilon of TensorFlow, which efficientnet_pytorch and its relatives have."""
    timm = import_without_compiler("timm")
    network = timm.create_model(timm_name, num_classes=0, pad_type="same", bn_eps=TENSORFLOW_EPS)
    return _with_body("an EfficientNet of TensorFlow", network, body)


def _with_body(name: str, network: "nn.Module", body: "State") -> "list[tuple[str, Features]]":
    """The network with the tensors of `body`; empty if they do not fit, because then the tensors tell more than a name."""
    wanted = network.state_dict()
    if any(key not in body or body[key].shape != tensor.shape for key, tensor in wanted.items()):
        return []
    network.load_state_dict({key: body[key] for key in wanted})
    network.eval()
    return [(name, lambda images: timm_features(network, images))]


def _name_in(uri: str) -> str | None:
    """Longest name of an architecture of timm with which the file or its folder is named, such as tf_efficientnet_b0."""
    timm = import_without_compiler("timm")
    for part in reversed(uri.rstrip("/").split("/")[-2:]):
        words = part.partition(".")[0].replace("-", "_").split("_")
        for count in range(len(words), 0, -1):
            if timm.is_model("_".join(words[:count])):
                return "_".join(words[:count])
    return None


def _torchvision(state: "State", timm_name: str, image_size: int) -> "list[tuple[str, Features]]":
    """The network of the same name of torchvision with the body of `state`."""
    import torch

    torchvision = import_without_compiler("torchvision")
    name = TORCHVISION_VITS.get(timm_name, timm_name)
    if name not in torchvision.models.list_models():
        return []
    options = {"image_size": image_size} if name.startswith("vit_") else {}
    network = torchvision.models.get_model(name, **options)
    last = "heads" if hasattr(network, "heads") else "classifier"
    layers = getattr(network, last)
    layers[-1] = torch.nn.Identity()
    wanted = network.state_dict()
    if any(key not in state or state[key].shape != tensor.shape for key, tensor in wanted.items()):
        return []
    network.load_state_dict({key: state[key].float() for key in wanted})
    network.eval()
    return [(f"torchvision's {name}", lambda images: network(images).flatten(1))]
