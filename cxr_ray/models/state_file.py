"""Read tensors from the bytes of a safetensors file or of a file of torch.save, without running code from it."""

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
"""Keys under which training scripts nest a state dict."""
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.")
"""Prefixes that wrappers and training scripts put before the names of all tensors."""
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
"""Exceptions of `torch.load(weights_only=True)` for a damaged file, or for one that needs code to be unpickled."""


def state_of(uri: str, data: bytes) -> State:
    """Read tensors by name onto the CPU; keys that nest them and a prefix that all names share are removed.

    Args:
        uri: URI of the file, for messages.
        data: content of the file, by which its format is recognised: safetensors, or a state dict that can be unpickled
            without running code.

    Raises:
        BundleError: if the file is damaged, needs code to be unpickled, or holds no tensors by name.
    """
    state = _tensors_of(uri, safetensors_of(uri, data) if is_safetensors(data) else _unpickled(uri, data))
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def safetensors_of(uri: str, data: bytes, *, fix: str = "fetch or export the weights again") -> State:
    """Read the tensors of a safetensors file, under the names in the file.

    Args:
        uri: URI of the file, for messages.
        data: content of the file.
        fix: advice at the end of the message.

    Raises:
        BundleError: if `data` is damaged, or is not a safetensors file.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(data)
    except (SafetensorError, *UNREADABLE) as error:
        raise BundleError(f"{uri} is not a safetensors file: {one_line(error)}; {fix}") from error


def metadata_of(data: bytes) -> dict[str, str]:
    """Metadata of an undamaged safetensors file; an empty dict for any other file."""
    if not is_safetensors(data):
        return {}
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return header.get("__metadata__") or {}


def is_safetensors(data: bytes) -> bool:
    """Whether `data` has a JSON header after 8 bytes, as every safetensors file has and no file of `torch.save`."""
    return data[8:9] == b"{"


def _unpickled(uri: str, data: bytes) -> Any:
    import torch

    try:
        return torch.load(BytesIO(data), "cpu", weights_only=True)
    except UNREADABLE as error:
        raise BundleError(
            f"{uri} is damaged, or is not a state dict that can be read without running code from it; "
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
