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
    found = named_as_timm(read_state(uri), wanted, backbone)
    if "pos_embed" in found and "pos_embed" in wanted:
        found["pos_embed"] = _positions_like(found["pos_embed"], wanted["pos_embed"])
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


def named_as_timm(state: State, wanted: State, backbone: str) -> State:
    """`state` under timm's names."""
    if backbone == "vit_b16" and "class_token" in state:
        return {_renamed(name): tensor for name, tensor in state.items()}
    if backbone == "densenet121":  # old files write norm.1 where modules now are called norm1
        return {re.sub(r"\.(norm|relu|conv)\.([12])\.", r".\1\2.", name): tensor for name, tensor in state.items()}
    if backbone == "efficientnet_b0" and "features.0.0.weight" in state and len(state) == len(wanted):
        # torchvision has the same tensors in the same order of modules under other names
        return dict(zip(wanted, (state[name] for name in sorted(state, key=_module_order)), strict=True))
    return state


def _module_order(name: str) -> tuple[bool, list[int | str], int]:
    """Sorts torchvision's names of an EfficientNet as its modules follow each other, which safetensors files do not."""
    *modules, tensor = name.split(".")
    places: list[int | str] = [int(part) if part.isdigit() else part for part in modules]
    return modules[0] == "classifier", places, TENSORS_OF_A_MODULE.index(tensor)


def _renamed(name: str) -> str:
    for pattern, replacement in VIT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _positions_like(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    from timm.layers import resample_abs_pos_embed

    side = round((wanted.shape[1] - 1) ** 0.5)
    return resample_abs_pos_embed(found.float(), [side, side], num_prefix_tokens=1)


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
