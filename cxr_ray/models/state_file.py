"""Bytes of a weights file to tensors by name, without running code from it: safetensors, or what torch.save wrote."""

import json
import struct
from io import BytesIO
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from cxr_ray.archive.uris import one_line
from cxr_ray.errors import BundleError

if TYPE_CHECKING:
    import torch

State = dict[str, "torch.Tensor"]

NESTS = ("state_dict", "model_state_dict", "model")
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
UNREADABLE = (
    UnpicklingError,
    RuntimeError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
)
"""What `torch.load(weights_only=True)` raises of a damaged file, or of one that wants code to be run."""


def state_of(uri: str, data: bytes) -> State:
    """Tensors by name on the CPU, taken out of what training scripts nest them in and without common prefixes.

    Args:
        uri: where the file came from, for messages.
        data: the file, told by its content: safetensors, or a state dict that needs no code to unpickle.

    Raises:
        BundleError: if the file is damaged, wants code to be run, or holds no tensors by name.
    """
    state = _tensors_of(uri, safetensors_of(uri, data) if is_safetensors(data) else _unpickled(uri, data))
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def safetensors_of(uri: str, data: bytes, *, mend: str = "fetch or export the weights again") -> State:
    """Tensors of a safetensors file, under the names that they have there.

    Args:
        uri: where the file came from, for messages.
        data: the file.
        mend: how the message ends.

    Raises:
        BundleError: if it is damaged, or something else.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, *UNREADABLE) as error:
        raise BundleError(f"{uri} is no safetensors file: {one_line(error)}; {mend}") from error


def metadata_of(data: bytes) -> dict[str, str]:
    """The metadata of a whole safetensors file; nothing of any other file."""
    if not is_safetensors(data):
        return {}
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__") or {}


def is_safetensors(data: bytes) -> bool:
    """Whether a JSON header follows after 8 bytes, as in no file of `torch.save`."""
    return data[8:9] == b"{"


def _unpickled(uri: str, data: bytes) -> Any:
    import torch

    try:
        return torch.load(BytesIO(data), "cpu", weights_only=True)
    except UNREADABLE as error:
        raise BundleError(
            f"{uri} is damaged, or no state dict that can be read without running code from it; "
            "name a safetensors file or save model.state_dict()"
        ) from error


def _tensors_of(uri: str, state: Any) -> State:
    import torch

    for nest in NESTS:
        if isinstance(state, dict) and isinstance(state.get(nest), dict):
            state = state[nest]
    if not isinstance(state, dict) or not any(isinstance(value, torch.Tensor) for value in state.values()):
        raise BundleError(f"{uri} holds no state dict but {type(state).__name__}; save model.state_dict()")
    return {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
