"""Networks of Hugging Face's transformers with their weights, loaded by transformers itself; they serve as the reference."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cxr_ray.errors import BundleError
from cxr_ray.models.foreign.transformers_names import VIT_TYPES

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cxr_ray.models.state_file import State

KNOWN_TYPES = (*VIT_TYPES, "resnet", "efficientnet")
NOT_NEEDED = re.compile(r"^(decoder\.|text_model\.|text_projection|visual_projection|logit_scale|(\w+\.)?pooler\.)")
"""Names of tensors outside the image encoder: MAE's decoder, CLIP's text tower and projections, the pooler of BERT's kind."""


def load_transformers_network(uri: str, config: dict[str, Any], state: "State") -> "nn.Module":
    """Build the network of a config.json and load `state` into it by transformers' own loader, in eval mode.

    Args:
        uri: URI of the folder, for messages.
        config: content of config.json.
        state: tensors under the names in the files.

    Raises:
        BundleError: if the type of network is not known, or a tensor is missing, left over or of another shape.
    """
    import torch
    import transformers

    kind = config["model_type"]
    if kind not in KNOWN_TYPES:
        raise BundleError(
            f"{uri} holds a network of type {kind!r}; of transformers, {', '.join(KNOWN_TYPES)} can be read"
        )
    full = transformers.CONFIG_MAPPING[kind].from_dict(config)
    if kind == "vit_mae":
        full.mask_ratio = 0.0  # the features are those of the whole image
    options = {"add_pooling_layer": False} if kind in ("vit", "deit") and not _classifies(config) else {}
    with _quiet():
        network, report = _network_class(config, full).from_pretrained(
            None,
            config=getattr(full, "vision_config", full),
            state_dict=state,
            output_loading_info=True,
            dtype=torch.float32,
            **options,
        )
    missing = [name for name in report["missing_keys"] if not NOT_NEEDED.search(name)]
    left = [name for name in report["unexpected_keys"] if not NOT_NEEDED.search(name)]
    other = [str(key[0]) for key in report["mismatched_keys"]]
    for names, fault in ((missing, "are missing"), (left, "are left over"), (other, "have another shape")):
        if names:
            raise BundleError(
                f"{uri} does not fit its own config.json: {len(names)} tensors {fault}, for instance {min(names)}; "
                "save it again with save_pretrained()"
            )
    loaded: nn.Module = network.eval()
    return loaded


def _classifies(config: dict[str, Any]) -> bool:
    return "ForImageClassification" in (config.get("architectures") or [""])[0]


def _network_class(config: dict[str, Any], full: Any) -> Any:
    """Class of transformers for the encoder of a config, or for the whole classifier."""
    import transformers

    if _classifies(config):
        return getattr(transformers, config["architectures"][0])
    if config["model_type"] in ("clip", "clip_vision_model"):
        return transformers.CLIPVisionModel
    return transformers.MODEL_MAPPING[type(full)]


def features_of(network: "nn.Module", images: "torch.Tensor") -> "torch.Tensor":
    """Features float [N, D] of the encoder in a network of transformers, before any head or pooler of BERT's kind."""
    encoder = network.base_model if hasattr(network, "num_labels") and _is_classifier(network) else network
    output = encoder(images)  # type: ignore[operator]
    kind = network.config.model_type  # type: ignore[union-attr]
    if kind in ("clip", "clip_vision_model", "resnet", "efficientnet"):
        pooled: torch.Tensor = output.pooler_output.flatten(1)
        return pooled
    tokens = output.last_hidden_state
    has_distillation = any("distillation_token" in name for name, _ in network.named_parameters())
    chosen: torch.Tensor = tokens[:, :2].mean(1) if has_distillation else tokens[:, 0]
    return chosen


def logits_of(network: "nn.Module", images: "torch.Tensor") -> "torch.Tensor | None":
    """Logits float [N, C] of a classifier of transformers; None for an encoder."""
    if not _is_classifier(network):
        return None
    logits: torch.Tensor = network(images).logits
    return logits


def _is_classifier(network: "nn.Module") -> bool:
    return "ForImageClassification" in type(network).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep transformers' table of tensors and its progress bar off the terminal; the report is checked instead."""
    from transformers.utils import logging

    before, had_bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if had_bar:
            logging.enable_progress_bar()
