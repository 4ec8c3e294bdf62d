"""Names of tensors in the networks of Hugging Face's transformers (version 5), and timm's names for them."""

import re
from typing import TYPE_CHECKING

from cxr_ray.models.foreign.timm_names import in_order_of, renamed

if TYPE_CHECKING:
    from cxr_ray.models.state_file import State

VIT = (
    (r"^(?:vit|deit|dinov2|dinov2_with_registers|vision_model)\.", ""),
    (r"^embeddings\.(?:cls_token|class_embedding)$", "cls_token"),
    (r"^embeddings\.distillation_token$", "dist_token"),
    (r"^embeddings\.(mask_token|register_tokens)$", r"\1"),
    (r"^embeddings\.position_embeddings?(?:\.weight)?$", "pos_embed"),
    (r"^embeddings\.patch_embedding(?:s\.projection)?\.", "patch_embed.proj."),
    (r"^(?:encoder\.)?layers?\.(\d+)\.", r"blocks.\1."),
    (r"\.self_attn\.", ".attention."),
    (r"\.attention\.(?:o_proj|out_proj)\.", ".attn.proj."),
    (r"\.layernorm_before\.|\.layer_norm1\.", ".norm1."),
    (r"\.layernorm_after\.|\.layer_norm2\.", ".norm2."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    (r"^pre_layrnorm\.", "norm_pre."),
    (r"^(?:layernorm|post_layernorm)\.", "norm."),
    (r"^(?:cls_)?classifier\.", "head."),
    (r"^distillation_classifier\.", "head_dist."),
)
"""Vision transformers: ViT, DeiT, MAE, DINOv2 and the towers of CLIP."""
RESNET = (
    (r"^resnet\.", ""),
    (r"^embedder\.embedder\.convolution\.", "conv1."),
    (r"^embedder\.embedder\.normalization\.", "bn1."),
    (r"\.shortcut\.convolution\.", ".downsample.0."),
    (r"\.shortcut\.normalization\.", ".downsample.1."),
    (r"^classifier\.1\.", "fc."),
)
"""ResNet, apart from the numbers of stages and layers."""
RESNET_LAYER = re.compile(r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.(?:layer\.(\d+)\.(convolution|normalization)\.)?")
QKV = re.compile(r"\.attention\.q_proj\.(weight|bias)$")
VIT_TYPES = ("vit", "deit", "vit_mae", "vit_msn", "dinov2", "dinov2_with_registers", "clip", "clip_vision_model")


def named_as_timm(model_type: str, state: "State", wanted: "State", head: tuple[str, ...]) -> "State | None":
    """Rename the tensors of a network of transformers to timm's names.

    Args:
        model_type: `model_type` of the network's config.
        state: the network's own tensors, in the order of its modules.
        wanted: tensors of timm's network, in the order of its modules.
        head: names of the tensors of `wanted` that belong to its last layer.

    Returns:
        The renamed tensors; None for a type of network whose names are not known.
    """
    if model_type in VIT_TYPES:
        return _vit(state)
    if model_type == "resnet":
        return {RESNET_LAYER.sub(_resnet_layer, renamed(name, RESNET)): tensor for name, tensor in state.items()}
    if model_type == "efficientnet":
        names = [name for name in state if not name.startswith("classifier.")]
        body = in_order_of(names, state, {name: tensor for name, tensor in wanted.items() if name not in head})
        return state if body is None else body | {n: t for n, t in state.items() if n.startswith("classifier.")}
    return None


def _vit(state: "State") -> "State":
    import torch

    named = {renamed(name, VIT): tensor for name, tensor in state.items()}
    for name in [name for name in named if QKV.search(name)]:
        parts = [named.pop(name.replace(".q_proj.", f".{part}_proj.")) for part in "qkv"]
        named[name.replace(".attention.q_proj.", ".attn.qkv.")] = torch.cat(parts)
    if named["cls_token"].ndim == 1:  # CLIP
        named["cls_token"] = named["cls_token"].reshape(1, 1, -1)
        named["pos_embed"] = named["pos_embed"].unsqueeze(0)
    return named


def _resnet_layer(match: re.Match[str]) -> str:
    stage, layer, number, kind = match.groups()
    name = f"layer{int(stage) + 1}.{layer}."
    return name + (f"{'conv' if kind == 'convolution' else 'bn'}{int(number) + 1}." if number else "")
