"""Read tensors from the bytes of a safetensors file or of a file of torch.save, without running code from it."""

import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from cxr_ray.archive.uris import one_line
from cxr_ray.errors import BundleError
from cxr_ray.models.inert_pickle import StandIn, load_inert

if TYPE_CHECKING:
    import numpy as np
    import torch

State = dict[str, "torch.Tensor"]

AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict", "teacher")
"""Keys under which training scripts keep the moving average of the weights, which they validate and publish."""
NESTS = ("state_dict", "model_state_dict", "model", "student", "net", "network", "weights")
"""Keys under which training scripts nest a state dict."""
PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "network.", "encoder_q.", "base_encoder.")
"""Prefixes that wrappers and training scripts put before the names of a network's tensors."""
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


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Tensors of a file, and what stands beside them.

    Attributes:
        state: tensors by name, without the prefix of most of them.
        outside: names of the tensors that lack that prefix, such as those of a loss; a network may not need them.
        notes: what was chosen or passed over, in sentences.
        architecture: name of the network that the file gives, as timm's training script writes it; None without one.
    """

    state: State
    outside: frozenset[str] = frozenset()
    notes: tuple[str, ...] = field(default=())
    architecture: str | None = None


def state_of(uri: str, data: bytes) -> State:
    """Read tensors by name onto the CPU; `checkpoint_of` tells what was chosen and removed for them.

    Args:
        uri: URI of the file, for messages.
        data: content of the file.

    Raises:
        BundleError: if the file is damaged, is a pickled network, or holds no tensors by name.
    """
    return checkpoint_of(uri, data).state


def checkpoint_of(uri: str, data: bytes, *, strip: bool = True) -> Checkpoint:
    """Read the tensors of a file onto the CPU, without the keys that nest them and the prefix that most names have.

    Where a file holds a moving average of the weights beside the weights, the average is read.

    Args:
        uri: URI of the file, for messages.
        data: content of the file, by which its format is recognised: safetensors, or a file of torch.save, from which
            no code is run.
        strip: whether prefixes are removed.

    Raises:
        BundleError: if the file is damaged, is a pickled network, or holds no tensors by name.
    """
    content = safetensors_of(uri, data) if is_safetensors(data) else _unpickled(uri, data)
    state, notes = _nested(content)
    tensors = _tensors_of(uri, state)
    return _without_prefixes(tensors, notes, _architecture_of(content)) if strip else Checkpoint(state=tensors)


def _nested(content: Any) -> tuple[Any, list[str]]:
    """The innermost state dict of `content`, and a note if a moving average was chosen before the weights."""
    notes = []
    for nest in (*AVERAGES, *NESTS):
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping) and content[nest]:
            others = [name for name in NESTS if nest in AVERAGES and isinstance(content.get(name), Mapping)]
            if nest in AVERAGES:
                notes.append(", not ".join([f"took {nest}, the moving average of the weights", *others[:1]]))
            content = content[nest]
    return content, notes


def _without_prefixes(state: State, notes: list[str], architecture: str | None) -> Checkpoint:
    outside: set[str] = set()
    found = True
    while found:
        found = False
        for prefix in PREFIXES:
            inside = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
            if 2 * len(inside) > len(state):
                others = {name: tensor for name, tensor in state.items() if not name.startswith(prefix)}
                outside |= others.keys() - inside.keys()
                state, found = others | inside, True
    outside &= state.keys()
    if outside:
        notes.append(f"tensors outside the network's prefix: {', '.join(sorted(outside))}")
    return Checkpoint(state=state, outside=frozenset(outside), notes=tuple(notes), architecture=architecture)


def _architecture_of(content: Any) -> str | None:
    """Name of the network that a training script wrote beside the tensors, in `arch` or in its options."""
    if not isinstance(content, Mapping):
        return None
    options = content.get("args")
    options = options.state if isinstance(options, StandIn) else options
    found = content.get("arch") or (options.get("model") or options.get("arch") if isinstance(options, dict) else None)
    return found if isinstance(found, str) else None


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


def arrays_of_safetensors(uri: str, data: bytes, *, prefix: str, fix: str) -> "dict[str, np.ndarray]":
    """Read those tensors of a safetensors file as arrays whose names begin with `prefix`, without loading torch.

    Args:
        uri: URI of the file, for messages.
        data: content of the file.
        prefix: beginning of the names.
        fix: advice at the end of the message.

    Raises:
        BundleError: if `data` is damaged, is not a safetensors file, or such a tensor is neither uint8 nor float32.
    """
    import numpy as np
    from safetensors import SafetensorError, deserialize

    try:
        tensors = [(name, stored) for name, stored in deserialize(data) if name.startswith(prefix)]
    except (SafetensorError, *UNREADABLE) as error:
        raise BundleError(f"{uri} is not a safetensors file: {one_line(error)}; {fix}") from error
    types = {"U8": np.uint8, "F32": np.float32}
    for name, stored in tensors:
        if stored["dtype"] not in types:
            raise BundleError(f"{uri}: {name} is of the type {stored['dtype']}, not {' or '.join(types)}; {fix}")
    return {
        name: np.frombuffer(stored["data"], types[stored["dtype"]]).reshape(stored["shape"]) for name, stored in tensors
    }


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
    if is_torchscript(data):
        raise BundleError(
            f"{uri} is a TorchScript archive, which holds code; export its tensors once where you trust it: "
            "torch.save(torch.jit.load(FILE, 'cpu').state_dict(), 'weights.pt')"
        )
    try:
        return load_inert(data)
    except UNREADABLE as error:
        raise BundleError(
            f"{uri} is damaged, or is not a state dict that can be read without running code from it; "
            "name a safetensors file or save model.state_dict()"
        ) from error


def is_torchscript(data: bytes) -> bool:
    """Whether `data` is a zip archive of torch.jit.save, which names its constants; other zip archives do not."""
    return any(name.endswith("constants.pkl") for name in zipped_names(data))


def zipped_names(data: bytes) -> list[str]:
    """Names of the files in a zip archive; [] for other or damaged content."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return []


def _tensors_of(uri: str, state: Any) -> State:
    import torch

    if isinstance(state, StandIn):
        raise BundleError(
            f"{uri} holds a pickled object of {state.made_of}, which needs its code; export its tensors once where you trust "
            "it: torch.save(torch.load(FILE, 'cpu', weights_only=False).state_dict(), 'weights.pt')"
        )
    if not isinstance(state, Mapping) or not any(isinstance(value, torch.Tensor) for value in state.values()):
        raise BundleError(f"{uri} holds no state dict but {type(state).__name__}; save model.state_dict()")
    return {str(name): value for name, value in state.items() if isinstance(value, torch.Tensor)}
