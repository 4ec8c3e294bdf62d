"""Weights from other sources as a start for training, with another head, another image size or torchvision's names."""

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
"""Patterns of torchvision's names of the tensors of a ViT, and timm's names for them."""
OLD_DENSE_LAYER = re.compile(r"(denselayer\d+)\.(norm|relu|conv)\.([12])\.")
"""Names in old files of a DenseNet, in which the module `norm1` was called `norm.1`."""
TENSORS_OF_A_MODULE = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
"""Tensors of a module, in the order in which torch keeps them."""


def load_starting_weights(model: nn.Module, uri: str, *, backbone: str) -> None:
    """Load those weights at `uri` into `model` that fit; the names of all others are logged.

    The head is skipped if its number of classes differs, and a ViT's position embeddings are interpolated to the
    model's grid.

    Args:
        model: a network of `build_backbone`.
        uri: the folder of a bundle, a safetensors file, or a state dict of timm or torchvision that can be unpickled
            without running code.
        backbone: name of the backbone in `BACKBONES`, for messages.

    Raises:
        BundleError: if no weights can be read from `uri`, or none of them fits a tensor outside the head.
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
    """Read tensors by name from the bundle or the weights file at `uri`.

    Raises:
        BundleError: if the file does not exist, is damaged, needs code to be unpickled, or holds no tensors by name.
    """
    try:
        if not is_folder(uri):
            return state_of(uri, fetch_weights(uri).data)
    except StorageError as error:
        raise BundleError(f"no weights to start from: {error}") from error
    return load_weights(uri, read_card(uri))


def named_as_timm(state: State, wanted: State) -> State:
    """Rename the tensors of `state` to timm's names; the tensors show where they come from, not an architecture's name.

    Args:
        state: tensors under the names of timm or torchvision, of any architecture.
        wanted: the model's own tensors, in the order of its modules.
    """
    if "class_token" in state:
        return {_renamed(name): tensor for name, tensor in state.items()}
    state = {OLD_DENSE_LAYER.sub(r"\1.\2\3.", name): tensor for name, tensor in state.items()}
    if "features.0.0.weight" in state and not state.keys() & wanted.keys():
        return _named_by_order(state, wanted)
    return state


def _named_by_order(state: State, wanted: State) -> State:
    """Rename `state` to the names of `wanted` if both have tensors of the same sizes in the same order of modules.

    This serves torchvision's networks with modules called `features` and `classifier`, for instance EfficientNet and
    ConvNeXt. The last module, which is the head, may have another size. A scale of shape [C, 1, 1] is reshaped to [C]
    if `wanted` has that shape. If the tensors do not match, `state` is returned as it is.
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
    """Sort key for the order of torchvision's modules, which safetensors files do not keep; the head is last."""
    *modules, tensor = name.split(".")
    places = [(int(part), "") if part.isdecimal() else (-1, part) for part in modules]
    known = TENSORS_OF_A_MODULE.index(tensor) if tensor in TENSORS_OF_A_MODULE else -1
    return modules[:1] == ["classifier"], places, known


def _renamed(name: str) -> str:
    for pattern, replacement in VIT_NAMES:
        name = re.sub(pattern, replacement, name)
    return name


def _positions_like(found: torch.Tensor, wanted: torch.Tensor, prefix_tokens: int) -> torch.Tensor:
    """Interpolate position embeddings float [1, prefix_tokens + N, C] to the square grid of `wanted`."""
    from timm.layers import resample_abs_pos_embed

    side = round((wanted.shape[1] - prefix_tokens) ** 0.5)
    return resample_abs_pos_embed(found.float(), [side, side], num_prefix_tokens=prefix_tokens)


def _log_misfits(uri: str, wanted: State, found: State, fitting: State) -> None:
    missing = [name for name in wanted if name not in found]
    skipped = [
        f"{name} {tuple(found[name].shape)}" + (f" instead of {tuple(wanted[name].shape)}" if name in wanted else "")
        for name in sorted(found)
        if name not in fitting
    ]
    log.info("loaded %s of %s tensors from %s", len(fitting), len(wanted), uri)
    if missing:
        log.warning("these tensors are not in %s: %s", uri, ", ".join(missing))
    if skipped:
        log.warning("these tensors of %s do not fit and were skipped: %s", uri, ", ".join(skipped))
