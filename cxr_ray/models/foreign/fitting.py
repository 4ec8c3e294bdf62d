"""Fit the tensors of a source to a network of timm: every tensor of the body, or a refusal that says why."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cxr_ray.errors import BundleError
from cxr_ray.models.foreign.numpy_archive import state_of_archive
from cxr_ray.models.foreign.positions import refuse_other_grid
from cxr_ray.models.foreign.source import Source
from cxr_ray.models.foreign.timm_filters import filtered_by_timm
from cxr_ray.models.foreign.timm_names import named_as_timm
from cxr_ray.models.foreign.transformers_names import named_as_timm as named_from_transformers

if TYPE_CHECKING:
    from torch import nn

    from cxr_ray.models.state_file import State

HEADS = re.compile(
    r"^(head|heads|head_dist|fc|classifier|cls_classifier|distillation_classifier|last_linear|linear|last_layer|pre_logits)\."
)
"""Names of the last layers of a network, which a source may have and the network may lack."""
UNUSED = re.compile(
    r"^(decoder\w*\.|decoder_pos_embed|mask_token$|pooler\.|visual_projection\.|op_threshs$|n_averaged$)"
    r"|(^|\.)(num_batches_tracked|total_ops|total_params)$"
)
"""Tensors without influence on features: decoders and mask tokens of pretraining, poolers, thresholds and counters."""
HINTS = (
    (r"(^|\.)fc_norm\.", "it pools the mean of its patches, as a fine-tuned MAE; import_model.py takes it"),
    (r"(^|\.)(norm_pre|ln_pre|pre_layrnorm)\.", "it is a CLIP tower; name vit_base_patch16_clip_224 or its kin"),
    (r"(^|\.)ls1\.gamma$|layer_scale1", "it scales its layers, as DINOv2; name vit_base_patch14_dinov2 or its kin"),
    (
        r"(^|\.)(dist_token|distillation_token)$",
        "it is a distilled DeiT; name deit_base_distilled_patch16_224 or its kin",
    ),
    (r"\.se\.fc1\.|\.se_module\.|\.se\.0\.", "its blocks have squeeze-and-excitation"),
)
"""Names of tensors that reveal another architecture, and what it is."""


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Tensors that fit a network of timm, under its names.

    Attributes:
        body: every tensor of the network outside the head.
        head: the head's tensors in the order of the network's own head, with any number of outputs; None without a
            head of one layer.
        heads_found: shapes of all matrices of the source's head, in words, for messages; empty without any.
        was_grey: whether the first convolution of the source has one channel, for grey images.
        unused: names of tensors that were passed over, sorted.
    """

    body: "State"
    head: "State | None"
    heads_found: str
    was_grey: bool
    unused: tuple[str, ...]

    @property
    def outputs(self) -> int | None:
        """Number of outputs of the head; None without a head of one layer."""
        return None if self.head is None else int(next(iter(self.head.values())).shape[0])


def fit(source: Source, model: "nn.Module", architecture: str) -> Fit:
    """Rename the tensors of `source` for `model`, and refuse them unless they are exactly those of its body.

    Args:
        source: weights under the names of their library.
        model: network of timm, with or without a head, whose image size is that of the weights.
        architecture: name of the network, for messages.

    Raises:
        BundleError: if a tensor of the body is missing, left over or of another shape.
    """
    wanted = model.state_dict()
    head = head_names(model)
    found = {name: tensor.float() for name, tensor in _named(source, model, wanted, head, architecture).items()}
    was_grey = _repeat_grey_stem(found, wanted)
    body = {name: tensor for name, tensor in wanted.items() if name not in head}
    heads = {name: tensor for name, tensor in found.items() if name not in body and HEADS.search(name)}
    heads |= {name: found[name] for name in head if name in found}
    passed_over = [name for name in found if UNUSED.search(name) or name in source.checkpoint.outside]
    left = sorted(found.keys() - body.keys() - heads.keys() - set(passed_over))
    missing = [name for name in body if name not in found and not name.endswith("num_batches_tracked")]
    misfits = [name for name in body if name in found and found[name].shape != body[name].shape]
    _refuse(source, architecture, missing, left, [f"{n} {tuple(found[n].shape)}" for n in misfits])
    return Fit(
        body={name: found.get(name, tensor).to(tensor.dtype) for name, tensor in body.items()},
        head=_head(heads, head, wanted),
        heads_found=", ".join("x".join(map(str, t.shape)) for t in heads.values() if t.ndim == 2),
        was_grey=was_grey,
        unused=tuple(sorted({*passed_over, *heads} - body.keys() - set(head))),
    )


def head_names(model: "nn.Module") -> tuple[str, ...]:
    """Names of the tensors of timm's last layer, or of both last layers of a distilled network; () for an encoder."""
    last = model.get_classifier()  # type: ignore[operator]
    modules = last if isinstance(last, tuple) else (last,)
    prefixes = [name for name, module in model.named_modules() if any(module is one for one in modules)]
    return tuple(name for prefix in prefixes for name in model.state_dict() if name.startswith(f"{prefix}."))


def _named(source: Source, model: "nn.Module", wanted: "State", head: tuple[str, ...], architecture: str) -> "State":
    """The tensors of `source` under timm's names, as far as their names are known."""
    if source.archive is not None:
        return state_of_archive(source.uri, source.archive, model, architecture)
    if source.network is not None:
        kind = str(source.network.config.model_type)  # type: ignore[union-attr]
        state = named_from_transformers(kind, dict(source.network.state_dict()), wanted, head) or {}
    else:
        state = named_as_timm(source.checkpoint.state, wanted, head)
    refuse_other_grid(source.uri, state, model, architecture)
    return filtered_by_timm(state, model)


def _repeat_grey_stem(found: "State", wanted: "State") -> bool:
    """Spread a first convolution of one channel over three equal channels, which changes no sum; whether there was one.

    A network for grey images thereby takes the grey plane in every channel, as all networks here do.
    """
    stems = [
        name
        for name, tensor in wanted.items()
        if name in found and tensor.ndim == 4 and tensor.shape[1] == 3 and found[name].shape[1:2] == (1,)
    ]
    for name in stems:
        found[name] = found[name].repeat(1, 3, 1, 1) / 3
    return bool(stems)


def _head(heads: "State", names: tuple[str, ...], wanted: "State") -> "State | None":
    """Tensors for the layers `names`, if `heads` has them by name, or is one linear layer of the right width."""
    if names and all(n in heads and heads[n].shape[1:] == wanted[n].shape[1:] for n in names):
        return {name: heads[name] for name in names}
    matrices = [name for name, tensor in heads.items() if tensor.ndim == 2]
    if len(names) != 2 or len(matrices) != 1 or heads[matrices[0]].shape[1] != wanted[names[0]].shape[1]:
        return None
    bias = heads.get(matrices[0].removesuffix("weight") + "bias")
    zeros = heads[matrices[0]].new_zeros(heads[matrices[0]].shape[0])
    return {names[0]: heads[matrices[0]], names[1]: zeros if bias is None else bias}


def _refuse(source: Source, architecture: str, missing: list[str], left: list[str], misfits: list[str]) -> None:
    faults = [
        f"{len(names)} {words} (for instance {names[0]})"
        for names, words in ((missing, "are missing"), (left, "are left over"), (misfits, "have another shape"))
        if names
    ]
    if not faults:
        return
    named = source.checkpoint.architecture
    hints = [hint for pattern, hint in HINTS if any(re.search(pattern, name) for name in source.shapes)]
    if named:
        hints.insert(0, f"the file says that it is {named}")
    fix = "; ".join(hints[:2]) or "name the architecture of these weights"
    raise BundleError(f"{source.uri} does not fit {architecture}: of its tensors {', '.join(faults)}; {fix}")
