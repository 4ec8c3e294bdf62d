"""Position embeddings and patches of vision transformers in foreign weights."""

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from cxr_ray.errors import BundleError

if TYPE_CHECKING:
    from torch import nn

    from cxr_ray.models.state_file import State

POSITIONS = re.compile(
    r"^(?!text|decoder|positional_embedding).*(pos_embed|pos_embedding|position_embeddings|positional_embedding|position_embedding\.weight)$"
)
"""Names of the position embeddings of an image encoder in timm, torchvision, transformers, CLIP and google-research."""
PREFIX_TOKENS = (1, 0, 2, 5)
"""Numbers of embeddings before those of the patches: a class token, none, one more for distillation, four registers."""


def grid_side(shapes: Mapping[str, tuple[int, ...]]) -> int | None:
    """Side of the square grid of patches that the position embeddings in `shapes` are for; None without any."""
    for name, shape in shapes.items():
        if POSITIONS.search(name) and len(shape) in (2, 3):
            for tokens in PREFIX_TOKENS:
                side = math.isqrt(max(shape[-2] - tokens, 0))
                if side > 1 and side * side == shape[-2] - tokens:
                    return side
    return None


def refuse_other_grid(uri: str, state: "State", model: "nn.Module", architecture: str) -> None:
    """Refuse patches of another size and a number of position embeddings that is no square grid.

    timm would resample both, into a network with another function.

    Raises:
        BundleError: if the tensors are those of other patches or of another number of tokens.
    """
    patches = getattr(getattr(model, "patch_embed", None), "patch_size", None)
    kernels = [t for name, t in state.items() if name.endswith(("patch_embed.proj.weight", "visual.conv1.weight"))]
    if patches is not None and kernels and kernels[0].ndim == 4 and tuple(kernels[0].shape[-2:]) != tuple(patches):
        found = "x".join(map(str, kernels[0].shape[-2:]))
        raise BundleError(
            f"{uri} does not fit {architecture}: its patches have {found} pixels, not {patches[0]}x{patches[1]}; "
            "name the architecture of these weights"
        )
    if getattr(model, "pos_embed", None) is None or "pos_embed" not in state or state["pos_embed"].ndim != 3:
        return
    tokens = 0 if getattr(model, "no_embed_class", False) else int(getattr(model, "num_prefix_tokens", 1))
    count = state["pos_embed"].shape[1]
    tokens += "register_tokens" in state and tokens == 0  # Meta's DINOv2 gives the class token a position, timm none
    if math.isqrt(max(count - tokens, 0)) ** 2 != count - tokens:
        hint = "; it is a distilled DeiT: name deit_base_distilled_patch16_224 or its kin" * ("dist_token" in state)
        raise BundleError(
            f"{uri} does not fit {architecture}: its {count} position embeddings are not {tokens} and a square grid"
            f"{hint or '; name the architecture of these weights'}"
        )
