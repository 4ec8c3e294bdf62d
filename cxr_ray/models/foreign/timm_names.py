"""Names of tensors in torchvision, efficientnet_pytorch and old files, and timm's names for them."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cxr_ray.models.state_file import State

VIT_NAMES = (
    (r"^class_token$", "cls_token"),
    (r"^encoder\.pos_embedding$", "pos_embed"),
    (r"^conv_proj\.", "patch_embed.proj."),
    (r"^encoder\.layers\.encoder_layer_(\d+)\.", r"blocks.\1."),
    (r"\.ln_1\.", ".norm1."),
    (r"\.ln_2\.", ".norm2."),
    (r"\.self_attention\.in_proj_", ".attn.qkv."),
    (r"\.self_attention\.out_proj\.", ".attn.proj."),
    (r"\.mlp\.(?:0|linear_1)\.", ".mlp.fc1."),
    (r"\.mlp\.(?:3|linear_2)\.", ".mlp.fc2."),
    (r"^encoder\.ln\.", "norm."),
    (r"^heads\.head\.", "head."),
)
"""Patterns of torchvision's names of the tensors of a ViT, and timm's names for them."""
OLD_DENSE_LAYER = re.compile(r"(denselayer\d+)\.(norm|relu|conv)\.([12])\.")
"""Names in old files of a DenseNet, in which the module `norm1` was called `norm.1`."""
EFFICIENTNET_PYTORCH_MODULES = (
    *(
        "_conv_stem",
        "_bn_stem",
        "_blocks",
        "_expand_conv",
        "_bn0",
        "_depthwise_conv",
        "_bn1",
        "_se_reduce",
        "_se_expand",
    ),
    *("_project_conv", "_bn2", "_conv_head", "_bn_head", "_fc"),
)
"""Modules of efficientnet_pytorch in the order of the forward pass, in which timm has the same tensors.

The normalisation after the stem is called `_bn0` and that after the last convolution `_bn1` there, as in the blocks.
"""
TENSORS_OF_A_MODULE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""Tensors of a module, in the order in which torch keeps them."""


def named_as_timm(state: "State", wanted: "State", head: tuple[str, ...] = ()) -> "State":
    """Rename the tensors of `state` to timm's names; the tensors show where they come from, not an architecture's name.

    Args:
        state: tensors under the names of timm, torchvision or efficientnet_pytorch, of any architecture.
        wanted: the model's own tensors, in the order of its modules.
        head: names of the tensors of `wanted` that belong to its last layer; by default the last module's.
    """
    if "class_token" in state:
        return {renamed(name, VIT_NAMES): tensor for name, tensor in state.items()}
    if is_efficientnet_pytorch(state):
        return _named_from_efficientnet_pytorch(state, wanted, head or _last_module(list(wanted)))
    state = {OLD_DENSE_LAYER.sub(r"\1.\2\3.", name): tensor for name, tensor in state.items()}
    if "features.0.0.weight" in state and not state.keys() & wanted.keys():
        return _named_by_order(state, wanted, head or _last_module(list(wanted)))
    return state


def is_efficientnet_pytorch(state: "State") -> bool:
    """Whether the tensors are named as by efficientnet_pytorch and its relatives, which port the weights of TensorFlow."""
    return "_conv_stem.weight" in state and "_conv_head.weight" in state


def _named_from_efficientnet_pytorch(state: "State", wanted: "State", head: tuple[str, ...]) -> "State":
    """Rename the tensors, if the body has the same sizes in the same order; else return them as they are."""
    heads = {name: tensor for name, tensor in state.items() if name.startswith("_fc.")}
    body = in_order_of(
        sorted(state.keys() - heads.keys(), key=_efficientnet_pytorch_order),
        state,
        {name: tensor for name, tensor in wanted.items() if name not in head},
    )
    if body is None:
        return state
    module = head[0].rpartition(".")[0] if head else "classifier"
    return body | {f"{module}.{name.removeprefix('_fc.')}": tensor for name, tensor in heads.items()}


def _efficientnet_pytorch_order(name: str) -> tuple[int, int, int, int]:
    """Sort key for the order of the forward pass: module, number of the block, module of the block, tensor."""
    first, *others, tensor = re.sub(r"^_bn0\.", "_bn_stem.", re.sub(r"^_bn1\.", "_bn_head.", name)).split(".")
    block, inner = (int(others[0]), others[1]) if others else (-1, first)
    places = [
        EFFICIENTNET_PYTORCH_MODULES.index(m) if m in EFFICIENTNET_PYTORCH_MODULES else -1 for m in (first, inner)
    ]
    known = TENSORS_OF_A_MODULE.index(tensor) if tensor in TENSORS_OF_A_MODULE else -1
    return places[0], block, places[1], known


def renamed(name: str, patterns: tuple[tuple[str, str], ...]) -> str:
    """Apply each of the patterns to `name` in turn."""
    for pattern, replacement in patterns:
        name = re.sub(pattern, replacement, name)
    return name


def in_order_of(names: list[str], state: "State", wanted: Mapping[str, "torch.Tensor"]) -> "State | None":
    """Give the tensors `names` of `state` the names of `wanted`, one by one; None if their numbers or sizes differ.

    A scale of shape [C, 1, 1] is reshaped to [C] if `wanted` has that shape.
    """
    if len(names) != len(wanted):
        return None
    found = {}
    for name, (timm_name, tensor) in zip(names, wanted.items(), strict=True):
        if state[name].numel() != tensor.numel():
            return None
        found[timm_name] = state[name].reshape(tensor.shape)
    return found


def _named_by_order(state: "State", wanted: "State", head: tuple[str, ...]) -> "State":
    """Rename `state` to the names of `wanted` if both have bodies of tensors of the same sizes in the same order.

    This serves torchvision's networks with modules called `features` and `classifier`, for instance EfficientNet and
    ConvNeXt. Their head, all linear layers of `classifier`, may have any size; a head of one layer gets timm's names.
    If the bodies do not match, `state` is returned as it is.
    """
    linear = {
        name.rpartition(".")[0] for name, tensor in state.items() if name.startswith("classifier.") and tensor.ndim == 2
    }
    heads = {name: tensor for name, tensor in state.items() if name.rpartition(".")[0] in linear}
    body = in_order_of(
        sorted(state.keys() - heads.keys(), key=_module_order),
        state,
        {name: tensor for name, tensor in wanted.items() if name not in head},
    )
    if body is None:
        return state
    if len(linear) == 1 and head:
        module = head[0].rpartition(".")[0]
        heads = {f"{module}.{name.rpartition('.')[2]}": tensor for name, tensor in heads.items()}
    return body | heads


def _last_module(names: list[str]) -> tuple[str, ...]:
    module = names[-1].rpartition(".")[0]
    return tuple(name for name in names if name.rpartition(".")[0] == module)


def _module_order(name: str) -> tuple[bool, list[tuple[int, str]], int]:
    """Sort key for the order of torchvision's modules, which safetensors files do not keep; the head is last."""
    *modules, tensor = name.split(".")
    places = [(int(part), "") if part.isdecimal() else (-1, part) for part in modules]
    known = TENSORS_OF_A_MODULE.index(tensor) if tensor in TENSORS_OF_A_MODULE else -1
    return modules[:1] == ["classifier"], places, known
