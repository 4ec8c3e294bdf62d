"""Weights of elsewhere as a start for training: other heads, other image sizes, torchvision's names."""

import logging
import re

import torch
from torch import nn

from cxr_ray.errors import BundleError, StorageError
from cxr_ray.models.backbones import classifier_head
from cxr_ray.models.bundle import load_weights, read_card
from cxr_ray.models.state_file import State, state_of
from cxr_ray.models.weights_cache import fetch_weights, is_folder

log = logging.getLogger("cxr_ray")

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
"""torchvision's names of a ViT, and timm's."""
OLD_DENSE_LAYER = re.compile(r"(denselayer\d+)\.(norm|relu|conv)\.([12])\.")
"""In old files of a DenseNet, where modules are now called `norm1` and not `norm.1`."""
TENSORS_OF_A_MODULE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def load_starting_weights(model: nn.Module, uri: str, *, backbone: str) -> None:
    """Fill `model` with what fits of the weights at `uri`; what does not is logged key by key.

    The head is skipped where its number of classes differs, and a ViT's position embeddings are interpolated to
    the model's grid.

    Args:
        model: a backbone of `build_backbone`.
        uri: a bundle (folder), or a file: safetensors, or a state dict of timm or torchvision that needs no code to
            unpickle.
        backbone: its name in the table.

    Raises:
        BundleError: if there is nothing readable, or not one tensor of the backbone's body fits.
    """
    wanted = model.state_dict()
    head = tuple(f"{name}." for name, module in model.named_modules() if module is classifier_head(model))
    found = named_as_timm(read_state(uri), wanted)
    if "pos_embed" in found and "pos_embed" in wanted:
        prefix_tokens = getattr(model, "num_prefix_tokens", 1)
        found["pos_embed"] = _positions_like(found["pos_embed"], wanted["pos_embed"], prefix_tokens)
    fitting = {name: tensor for name, tensor in found.items() if name in wanted and tensor.shape == wanted[name].shape}
    if not any(not name.startswith(head) for name in fitting):
        raise BundleError(f"{uri}: none of its {len(found)} tensors fits {backbone}; name weights of that architecture")
    model.load_state_dict(fitting, strict=False)
    _log_misfits(uri, wanted, found, fitting)


def read_state(uri: str) -> State:
    """Tensors by name, from a bundle or a file.

    Raises:
        BundleError: if there is no such file, or it holds anything but tensors.
    """
    try:
        if not is_folder(uri):
            return state_of(uri, fetch_weights(uri).data)
    except StorageError as error:
        raise BundleError(f"no weights to start from: {error}") from error
    return load_weights(uri, read_card(uri))


def named_as_timm(state: State, wanted: State) -> State:
    """`state` under timm's names; whose names it has is told by its tensors, never by the name of the architecture.

    Args:
        state: tensors of timm or torchvision, of any architecture.
        wanted: the model's own tensors, in the order of its modules.
    """
    if "class_token" in state:
        return {_renamed(name): tensor for name, tensor in state.items()}
    state = {OLD_DENSE_LAYER.sub(r"\1.\2\3.", name): tensor for name, tensor in state.items()}
    if "features.0.0.weight" in state and not state.keys() & wanted.keys():
        return _named_by_order(state, wanted)
    return state


def _named_by_order(state: State, wanted: State) -> State:
    """`state` under the names of `wanted`, if it holds tensors of the same sizes in the same order of modules.

    So torchvision holds what it keeps in `features` and `classifier`, EfficientNet and ConvNeXt for instance. The last
    module, which is the head, may have another size. A scale of [C, 1, 1] becomes [C] where that is what is wanted.
    """
    names = sorted(state, key=_module_order)
    head = names[-1].rpartition(".")[0] + "."
    if len(names) != len(wanted):
        return state
    renamed = {}
    for name, (timm_name, tensor) in zip(names, wanted.items(), strict=True):
        is_same_size = state[name].numel() == tensor.numel()
        if not is_same_size and not name.startswith(head):
            return state
        renamed[timm_name] = state[name].reshape(tensor.shape) if is_same_size else state[name]
    return renamed


def _module_order(name: str) -> tuple[bool, list[tuple[int, str]], int]:
    """Sorts torchvision's names as their modules follow each other, which safetensors files do not; the head is last."""
    *modules, tensor = name.split(".")
    places = [(int(part), "") if part.isdecimal() else (-1, part) for part in modules]
    known = TENSORS_OF_A_MODULE.index(tensor) if tensor in TENSORS_OF_A_MODULE else -1
    return modules[:1] == ["classifier"], places, known


def _renamed(name: str) -> str:
    for pattern, replacement in VIT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _positions_like(found: torch.Tensor, wanted: torch.Tensor, prefix_tokens: int) -> torch.Tensor:
    """Position embeddings [1, prefix_tokens + N, C] interpolated to the square grid of `wanted`."""
    from timm.layers import resample_abs_pos_embed

    side = round((wanted.shape[1] - prefix_tokens) ** 0.5)
    return resample_abs_pos_embed(found.float(), [side, side], num_prefix_tokens=prefix_tokens)


def _log_misfits(uri: str, wanted: State, found: State, fitting: State) -> None:
    missing = [name for name in wanted if name not in found]
    skipped = [
        f"{name} {tuple(found[name].shape)}" + (f" instead of {tuple(wanted[name].shape)}" if name in wanted else "")
        for name in found
        if name not in fitting
    ]
    log.info("%s: %s of %s tensors loaded", uri, len(fitting), len(wanted))
    if missing:
        log.warning("not in %s: %s", uri, ", ".join(missing))
    if skipped:
        log.warning("skipped of %s: %s", uri, ", ".join(skipped))
