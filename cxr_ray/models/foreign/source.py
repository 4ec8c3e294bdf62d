"""A file or folder of weights that somebody else wrote: its tensors, and what its own descriptions say of them."""

import hashlib
import io
import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cxr_ray.archive.uris import exists, join_uri, named_failures, open_filesystem, parent_uri, read_bytes
from cxr_ray.errors import BundleError, StorageError
from cxr_ray.models.bundle import CARD_NAME, ModelCard, kind_of, load_weights, read_card
from cxr_ray.models.encoder_card import EncoderCard
from cxr_ray.models.foreign.preprocessing import Preprocessing, preprocessing_of
from cxr_ray.models.foreign.transformers_network import load_transformers_network
from cxr_ray.models.multilabel_card import MultilabelCard, read_classifier_card
from cxr_ray.models.state_file import Checkpoint, State, checkpoint_of, metadata_of, zipped_names
from cxr_ray.models.weights_cache import fetch_weights, is_folder

if TYPE_CHECKING:
    from torch import nn

WEIGHTS_NAMES = (
    "model.safetensors",
    "model.safetensors.index.json",
    "open_clip_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "open_clip_pytorch_model.bin",
)
"""Weights in a folder, in the order in which they are looked for; an index names the files of a divided model."""
DESCRIPTIONS = ("config.json", "preprocessor_config.json", "open_clip_config.json")
FRONT_MATTER_LICENCE = re.compile(r"\A---\n(?:.*\n)*?licen[sc]e: *(\S.*)\n", re.IGNORECASE)
LABEL_WITHOUT_NAME = re.compile(r"LABEL_\d+")
"""Name that transformers gives to a class without a name."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Weights of another library or script, read whole.

    Attributes:
        uri: URI of the file or folder.
        sha256: sha256 of the weights file, or of the digests of several.
        layout: `bundle`, `transformers`, `numpy archive` or `state dict`.
        checkpoint: tensors under the names in the file; no tensors for a NumPy archive.
        archive: content of a NumPy archive, else None.
        network: network of transformers with its weights, else None.
        card: card of a bundle, else None.
        labels: names of the outputs in their order, if a description gives them.
        preprocessing: what a description says of the inputs.
        licence: licence that a description gives.
        findings: whether each output is a finding of its own, which may be present together with others.
        quick_gelu: whether open_clip's or OpenAI's description says that the activation is QuickGELU; None if unknown.
    """

    uri: str
    sha256: str
    layout: str
    checkpoint: Checkpoint
    archive: bytes | None = field(default=None, repr=False)
    network: "nn.Module | None" = None
    card: ModelCard | None = None
    labels: tuple[str, ...] | None = None
    preprocessing: Preprocessing = field(default_factory=Preprocessing)
    licence: str | None = None
    findings: bool = False
    quick_gelu: bool | None = None

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each tensor, under its name in the source."""
        if self.archive is not None:
            return {name: array.shape for name, array in arrays_of(self.archive).items()}
        state = self.checkpoint.state if self.network is None else self.network.state_dict()
        return {name: tuple(tensor.shape) for name, tensor in state.items()}


def read_source(uri: str) -> Source:
    """Read the weights at `uri` and the descriptions beside them.

    Raises:
        BundleError: if there are no weights, they are damaged or need code to be read, or are those of a network of
            transformers without its config.json.
    """
    try:
        if is_folder(uri):
            return _bundle(uri) if exists(join_uri(uri, CARD_NAME)) else _folder(uri)
        folder = parent_uri(uri) if uri.rpartition("/")[2] in WEIGHTS_NAMES else None
        return _described(uri, [uri], folder)
    except StorageError as error:
        raise BundleError(f"no weights to start from: {error}") from error


def arrays_of(archive: bytes) -> dict[str, Any]:
    """Arrays of a NumPy archive by name; nothing in it is unpickled."""
    import numpy as np

    with np.load(io.BytesIO(archive), allow_pickle=False) as arrays:
        return dict(arrays)


def _bundle(uri: str) -> Source:
    card = read_card(uri, EncoderCard) if kind_of(uri) == EncoderCard.kind else read_classifier_card(uri)
    return Source(
        uri=uri,
        sha256=card.weights_sha256,
        layout="bundle",
        checkpoint=Checkpoint(state=load_weights(uri, card)),
        card=card,
        labels=card.labels or None,
        preprocessing=Preprocessing(
            mean=card.mean, std=card.std, image_size=card.image_size, interpolation=card.interpolation, origin=CARD_NAME
        ),
        licence=card.source.get("licence"),
        findings=isinstance(card, MultilabelCard),
    )


def _folder(uri: str) -> Source:
    fs, path = open_filesystem(uri)
    with named_failures("read", uri):
        names = {str(name).rstrip("/").rpartition("/")[2] for name in fs.ls(path, detail=False)}
    found = [name for name in WEIGHTS_NAMES if name in names]
    if not found:
        raise BundleError(
            f"{uri} holds neither a bundle nor {', '.join(name for name in WEIGHTS_NAMES if 'index' not in name)}; "
            "name the weights file itself"
        )
    first = join_uri(uri, found[0])
    if not found[0].endswith("index.json"):
        return _described(uri, [first], uri)
    parts = sorted(set(_json(first).get("weight_map", {}).values()))
    return _described(uri, [join_uri(uri, part) for part in parts], uri)


def _described(uri: str, files: list[str], folder: str | None) -> Source:
    weights = [fetch_weights(file) for file in files]
    sha256 = weights[0].sha256
    if len(weights) > 1:
        sha256 = hashlib.sha256("".join(part.sha256 for part in weights).encode()).hexdigest()
    config, processor, clip = (_json_in(folder, name) for name in DESCRIPTIONS)
    common: dict[str, Any] = {
        "uri": uri,
        "sha256": sha256,
        "preprocessing": preprocessing_of(config, processor, clip),
        "licence": _licence(folder, config) or metadata_of(weights[0].data).get("license"),
        "labels": labels_of(config),
        "findings": config.get("problem_type") == "multi_label_classification",
        "quick_gelu": clip.get("model_cfg", {}).get("quick_gelu", False) if clip else None,
    }
    if is_numpy_archive(weights[0].data):
        return Source(layout="numpy archive", checkpoint=Checkpoint(state={}), archive=weights[0].data, **common)
    parts = [checkpoint_of(file, part.data) for file, part in zip(files, weights, strict=True)]
    checkpoint = parts[0] if len(parts) == 1 else Checkpoint(state=_joined([part.state for part in parts]))
    common["findings"] |= "op_threshs" in checkpoint.state  # TorchXRayVision's thresholds of its findings
    if "input_resolution" in checkpoint.state:  # only OpenAI's archives of CLIP hold their settings as tensors
        common["quick_gelu"] = True
    if config.get("model_type"):
        raw = _joined([_with_own_names(part.data, file) for file, part in zip(files, weights, strict=True)])
        network = load_transformers_network(uri, config, raw)
        return Source(layout="transformers", checkpoint=checkpoint, network=network, **common)
    if any("embeddings.patch_embeddings." in name or "embedder.embedder." in name for name in checkpoint.state):
        raise BundleError(
            f"{uri} has the names of transformers, whose config.json says what the tensors do; "
            "name the folder that save_pretrained() wrote"
        )
    if architecture := config.get("architecture"):
        checkpoint = Checkpoint(
            state=checkpoint.state, outside=checkpoint.outside, notes=checkpoint.notes, architecture=architecture
        )
    return Source(layout="state dict", checkpoint=checkpoint, **common)


def labels_of(config: dict[str, Any]) -> tuple[str, ...] | None:
    """Names of the outputs in a config.json of transformers or timm; None if it has none."""
    by_index = config.get("id2label") or {}
    names = [by_index[key] for key in sorted(by_index, key=int)] or config.get("label_names") or []
    return None if not names or any(LABEL_WITHOUT_NAME.fullmatch(str(name)) for name in names) else tuple(names)


def is_numpy_archive(data: bytes) -> bool:
    """Whether `data` is a zip archive of NumPy arrays."""
    names = zipped_names(data)
    return bool(names) and all(name.endswith(".npy") for name in names)


def _with_own_names(data: bytes, uri: str) -> State:
    """Tensors under the names in the file, prefixes included, as transformers' own loader expects them."""
    return checkpoint_of(uri, data, strip=False).state


def _joined(states: list[State]) -> State:
    return {name: tensor for state in states for name, tensor in state.items()}


def _json(uri: str) -> dict[str, Any]:
    try:
        content = json.loads(read_bytes(uri))
    except ValueError as error:
        raise BundleError(f"{uri} is no JSON file: {error}; fetch it again") from error
    if not isinstance(content, dict):
        raise BundleError(f"{uri} holds no JSON object but {type(content).__name__}; fetch it again")
    return content


def _json_in(folder: str | None, name: str) -> dict[str, Any]:
    """Content of a JSON file of `folder`; empty if there is none."""
    if folder is None or not exists(join_uri(folder, name)):
        return {}
    return _json(join_uri(folder, name))


def _licence(folder: str | None, config: dict[str, Any]) -> str | None:
    given = config.get("license") or config.get("pretrained_cfg", {}).get("license")
    if given or folder is None or not exists(join_uri(folder, "README.md")):
        return given
    found = FRONT_MATTER_LICENCE.search(read_bytes(join_uri(folder, "README.md")).decode(errors="replace"))
    return found.group(1).strip() if found else None
