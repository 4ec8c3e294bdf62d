"""NumPy archives (.npz) of google-research, read by timm's own loader, with a check that nothing is missing or left over."""

import copy
import math
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cxr_ray.archive.uris import one_line
from cxr_ray.errors import BundleError

if TYPE_CHECKING:
    from torch import nn

    from cxr_ray.models.state_file import State

UNUSED = re.compile(r"(^|/)(head|pre_logits|resnet/head)/|(^|/)(opt/state|step|extra)(/|$)")
"""Arrays outside the body: the head, the layer before it of old archives, and the optimizer's."""


def state_of_archive(uri: str, archive: bytes, model: "nn.Module", architecture: str) -> "State":
    """Tensors of a NumPy archive under timm's names; the head is left out unless it has the model's number of outputs.

    Args:
        uri: URI of the archive, for messages.
        archive: content of the archive.
        model: network of timm, whose image size is that of the archive; it is not changed.
        architecture: name of the network, for messages.

    Raises:
        BundleError: if timm cannot read the archive into such a network, or the archive holds more than the network.
    """
    import torch

    from cxr_ray.models.foreign.source import arrays_of

    filled = copy.deepcopy(model)
    if not hasattr(filled, "load_pretrained"):
        raise BundleError(
            f"{uri} is a NumPy archive, and timm reads none into {architecture}; name its weights for torch"
        )
    with torch.no_grad():
        for tensor in filled.state_dict().values():
            if tensor.is_floating_point():
                tensor.fill_(math.nan)  # a tensor that the loader leaves out stays NaN
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.npz"
        path.write_bytes(archive)
        try:
            filled.load_pretrained(str(path))  # type: ignore[operator]
        except (KeyError, ValueError, RuntimeError, IndexError, AssertionError) as error:
            raise BundleError(f"{uri} does not fit {architecture}: {one_line(error)}") from error
    found = {name: tensor for name, tensor in filled.state_dict().items() if not tensor.isnan().any()}
    classifier = model.get_classifier()  # type: ignore[operator]
    heads = {name for name, module in model.named_modules() if module is classifier}
    taken = sum(t.numel() for name, t in found.items() if name.rpartition(".")[0] not in heads)
    given = sum(array.size for name, array in arrays_of(archive).items() if not UNUSED.search(name))
    if given > taken:
        raise BundleError(
            f"{uri} does not fit {architecture}: the archive holds {given:,} numbers and the network {taken:,}; "
            "name the architecture of these weights"
        )
    return found
