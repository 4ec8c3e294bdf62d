"""BiomedCLIP's weights in three layouts, recognised by the tensors' names: ours, open_clip's and Hugging Face's."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import isqrt

import torch

from cxr_ray.archive.uris import join_uri, parent_uri, read_bytes, write_bytes
from cxr_ray.errors import BundleError, ConfigError, StorageError
from cxr_ray.models.biomedclip import BiomedClip, BiomedClipConfig, PromptTokenizer
from cxr_ray.models.bundle import WEIGHTS_NAME
from cxr_ray.models.clip_weights import clip_weights_uri
from cxr_ray.models.state_file import State, metadata_of, state_of
from cxr_ray.models.weights_cache import fetch_weights, is_folder

VOCABULARY_NAME = "vocab.txt"
HEAD_WIDTH = 64
BUFFERS = ("position_ids", "token_type_ids")
"""Constants that older releases of transformers saved with the weights."""
NAMES: tuple[tuple[str, str, str], ...] = (
    ("logit_scale", "logit_scale", "logit_scale"),
    ("vision.embeddings.cls_token", "visual.trunk.cls_token", "vision_model.embeddings.class_embedding"),
    (
        "vision.embeddings.position_embeddings",
        "visual.trunk.pos_embed",
        "vision_model.embeddings.position_embedding.weight",
    ),
    (
        "vision.embeddings.patch_embeddings.projection.*",
        "visual.trunk.patch_embed.proj.*",
        "vision_model.embeddings.patch_embedding.*",
    ),
    ("vision.layernorm.*", "visual.trunk.norm.*", "vision_model.post_layernorm.*"),
    ("vision_projection.*", "visual.head.proj.*", "visual_projection.*"),
    ("text_projection.fc1.*", "text.proj.0.*", "text_projection.fc1.*"),
    ("text_projection.fc2.*", "text.proj.2.*", "text_projection.fc2.*"),
    *(
        (f"vision.layers.#.{ours}.*", f"visual.trunk.blocks.#.{timm}.*", f"vision_model.encoder.layers.#.{clip}.*")
        for ours, timm, clip in (
            ("layernorm_before", "norm1", "layer_norm1"),
            ("layernorm_after", "norm2", "layer_norm2"),
            ("attention.q_proj", "attn.q", "self_attn.q_proj"),
            ("attention.k_proj", "attn.k", "self_attn.k_proj"),
            ("attention.v_proj", "attn.v", "self_attn.v_proj"),
            ("attention.o_proj", "attn.proj", "self_attn.out_proj"),
            ("mlp.fc1", "mlp.fc1", "mlp.fc1"),
            ("mlp.fc2", "mlp.fc2", "mlp.fc2"),
        )
    ),
    *(
        (f"text.{bert}.*", f"text.transformer.{bert}.*", f"text_model.{clip}.*")
        for bert, clip in (
            ("embeddings.word_embeddings", "embeddings.token_embedding"),
            ("embeddings.position_embeddings", "embeddings.position_embedding"),
            ("embeddings.token_type_embeddings", "embeddings.token_type_embedding"),
            ("embeddings.LayerNorm", "embeddings.layer_norm"),
            ("encoder.layer.#.attention.self.query", "encoder.layers.#.self_attn.q_proj"),
            ("encoder.layer.#.attention.self.key", "encoder.layers.#.self_attn.k_proj"),
            ("encoder.layer.#.attention.self.value", "encoder.layers.#.self_attn.v_proj"),
            ("encoder.layer.#.attention.output.dense", "encoder.layers.#.self_attn.out_proj"),
            ("encoder.layer.#.attention.output.LayerNorm", "encoder.layers.#.layer_norm1"),
            ("encoder.layer.#.intermediate.dense", "encoder.layers.#.mlp.fc1"),
            ("encoder.layer.#.output.dense", "encoder.layers.#.mlp.fc2"),
            ("encoder.layer.#.output.LayerNorm", "encoder.layers.#.layer_norm2"),
        )
    ),
)
"""Names of tensors: ours, open_clip's (qkv split in three), Hugging Face's; # is a block's number, * weight or bias."""
CLASS_TOKEN, POSITIONS = "vision.embeddings.cls_token", "vision.embeddings.position_embeddings"
RANKS = {
    CLASS_TOKEN: 3,
    POSITIONS: 3,
    "vision.embeddings.patch_embeddings.projection.weight": 4,
    "vision.layers.0.mlp.fc1.weight": 2,
    "text.embeddings.word_embeddings.weight": 2,
    "text.embeddings.position_embeddings.weight": 2,
    "text.encoder.layer.0.intermediate.dense.weight": 2,
    "text_projection.fc2.weight": 2,
}
"""Number of axes of each tensor from which `infer_config` reads the sizes of a model."""


def from_open_clip(state: State) -> State:
    """Rename the tensors of open_clip's `CustomTextCLIP` to our names; unknown names stay."""
    split: State = {}
    for name, tensor in state.items():
        stem, joint, leaf = name.rpartition(".attn.qkv.")
        thirds = zip("qkv", tensor.chunk(3), strict=False) if joint and tensor.ndim else ()
        split |= {f"{stem}.attn.{part}.{leaf}": third for part, third in thirds} or {name: tensor}
    return _renamed(split, 1, 0)


def to_open_clip(state: State) -> State:
    """Rename tensors from our names to those of open_clip's `CustomTextCLIP`."""
    named = _renamed(state, 0, 1)
    fused: State = {}
    for name, tensor in named.items():
        if ".attn.q." in name:
            thirds = [named[name.replace(".attn.q.", f".attn.{part}.")] for part in "qkv"]
            fused[name.replace(".attn.q.", ".attn.qkv.")] = torch.cat(thirds)
        elif not re.search(r"\.attn\.[kv]\.", name):
            fused[name] = tensor
    return fused


def from_hf(state: State) -> State:
    """Rename the tensors of Hugging Face's chuhac/BiomedCLIP-vit-bert-hf to our names; unknown names stay."""
    ours = _renamed(state, 2, 0)
    shapes = {CLASS_TOKEN: (1, 1, -1), POSITIONS: (1, *ours[POSITIONS].shape)} if POSITIONS in ours else {}
    return {name: tensor.reshape(shapes.get(name, tensor.shape)) for name, tensor in ours.items()}


def to_hf(state: State) -> State:
    """Rename tensors from our names to those of Hugging Face's `BiomedCLIPModel`."""
    flat = {CLASS_TOKEN: state[CLASS_TOKEN][0, 0], POSITIONS: state[POSITIONS][0]}
    return _renamed(state | flat, 0, 2)


def _renamed(state: State, source: int, target: int) -> State:
    table = {row[source]: row[target] for row in NAMES}
    return {_name(name, table): tensor for name, tensor in state.items()}


def _name(name: str, table: Mapping[str, str]) -> str:
    block = re.search(r"(?<=\.(?:blocks|layers)\.)\d+|(?<=\.layer\.)\d+", name)
    number = block[0] if block else ""
    pattern = f"{name[: block.start()]}#{name[block.end() :]}" if block else name
    stem, _, leaf = pattern.rpartition(".")
    other = table.get(pattern) or table.get(f"{stem}.*", name)
    return other.replace("#", number).replace("*", leaf)


@dataclass(frozen=True)
class _Layout:
    column: int  # its column in NAMES
    to_ours: Callable[[State], State]
    from_ours: Callable[[State], State]


LAYOUTS = (_Layout(0, dict, dict), _Layout(1, from_open_clip, to_open_clip), _Layout(2, from_hf, to_hf))


class StoredBiomedClip(BiomedClip):
    """A BiomedCLIP that was read from a file; outputs of jobs name it by its `model_id`."""

    def __init__(self, config: BiomedClipConfig, model_id: str) -> None:
        super().__init__(config)
        self.model_id = model_id


def load_biomedclip(uri: str, *, sha256: str | None = None) -> StoredBiomedClip:
    """Load the BiomedCLIP at `uri`, in eval mode, in fp32, on the CPU.

    Args:
        uri: a safetensors file, a state dict that can be unpickled without running code, or a folder that holds one
            under a usual name; the layout is any of the three.
        sha256: 64 hex digits that the sha256 of the file must equal; None accepts any file.

    Raises:
        BundleError: if the file does not exist, has another sha256, needs code to be unpickled, or holds no BiomedCLIP.
    """
    file_uri = clip_weights_uri(uri)
    try:
        weights = fetch_weights(file_uri, sha256)
    except StorageError as error:
        raise BundleError(f"no BiomedCLIP weights: {error}") from error
    config, state = read_weights(file_uri, weights.data)
    model = StoredBiomedClip(config, clip_model_id(weights.sha256))
    model.load_state_dict(state)
    return model.eval()


def clip_model_id(sha256: str) -> str:
    """Name in outputs of the BiomedCLIP whose weights file has the hash `sha256`."""
    return f"biomedclip-{sha256[:12]}"


def load_tokenizer(uri: str, config: BiomedClipConfig) -> PromptTokenizer:
    """Load the tokeniser from the `vocab.txt` beside the weights at `uri`, which is a file or a folder.

    Raises:
        BundleError: if there is no `vocab.txt`, or it does not belong to a model of `config`.
    """
    try:
        vocabulary_uri = join_uri(uri if is_folder(uri) else parent_uri(uri), VOCABULARY_NAME)
        lines = read_bytes(vocabulary_uri).decode().replace("\r\n", "\n").removesuffix("\n").split("\n")
        tokenizer = PromptTokenizer(lines, context=config.context)
    except StorageError as error:
        raise BundleError(f"no {VOCABULARY_NAME} beside the weights: {error}") from error
    except (UnicodeDecodeError, BundleError) as error:
        raise BundleError(f"{vocabulary_uri}: {error}") from error
    if len(lines) > config.vocab_size:
        raise BundleError(
            f"{vocabulary_uri} has {len(lines)} tokens, but the model has {config.vocab_size}; use the model's own file"
        )
    return tokenizer


def save_biomedclip(uri: str, model: BiomedClip, tokenizer: PromptTokenizer) -> None:
    """Write `model` and its vocabulary into the folder `uri`, in our layout, as `load_biomedclip` reads them."""
    from safetensors.torch import save

    state = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    metadata = {name: str(getattr(model.config, name)) for name in ("vision_heads", "text_heads", "context")}
    write_bytes(join_uri(uri, VOCABULARY_NAME), "".join(f"{token}\n" for token in tokenizer.vocabulary).encode())
    write_bytes(join_uri(uri, WEIGHTS_NAME), save(state, metadata))


def read_weights(uri: str, data: bytes) -> tuple[BiomedClipConfig, State]:
    """Read the sizes and the tensors, under our names, from `data`, the content of the weights file at `uri`.

    Raises:
        BundleError: if the file is damaged, needs code to be unpickled, or holds no BiomedCLIP.
    """
    state = {name: tensor for name, tensor in state_of(uri, data).items() if not name.endswith(BUFFERS)}
    layout = next((layout for layout in LAYOUTS if NAMES[1][layout.column] in state), None)
    if layout is None:
        raise BundleError(f"{uri} holds {len(state)} tensors but no BiomedCLIP; name weights of that architecture")
    ours = layout.to_ours(state)
    _refuse(uri, _faults_of_rank(ours, {row[0]: row[layout.column] for row in NAMES}))
    try:
        config = infer_config(ours, metadata_of(data))
    except (ValueError, ConfigError) as error:
        raise BundleError(f"{uri} has sizes that fit no BiomedCLIP: {error}") from error
    _compare(uri, state, layout, config)
    return config, ours


def infer_config(state: State, metadata: Mapping[str, str]) -> BiomedClipConfig:
    """Infer the sizes of a model from `state`, its tensors under our names.

    Args:
        state: tensors by name, with all those of `RANKS`.
        metadata: may give `vision_heads`, `text_heads` and `context`, which no shape shows; by default heads are 64 wide.

    Raises:
        ValueError: if a value of `metadata` is not a whole number.
        ConfigError: if the sizes contradict each other.
    """
    _, positions, patches, vision_mlp, words, text_positions, text_mlp, head = (state[n].shape for n in RANKS)
    return BiomedClipConfig(
        vision_hidden=patches[0],
        vision_layers=_blocks(state, r"vision\.layers\.(\d+)\."),
        vision_heads=int(metadata.get("vision_heads", max(1, patches[0] // HEAD_WIDTH))),
        vision_mlp=vision_mlp[0],
        image_size=isqrt(positions[1] - 1) * patches[-1],
        patch_size=patches[-1],
        text_hidden=words[1],
        text_layers=_blocks(state, r"text\.encoder\.layer\.(\d+)\."),
        text_heads=int(metadata.get("text_heads", max(1, words[1] // HEAD_WIDTH))),
        text_mlp=text_mlp[0],
        vocab_size=words[0],
        text_positions=text_positions[0],
        context=int(metadata.get("context", min(BiomedClipConfig.context, text_positions[0]))),
        projection=head[0],
        text_projection_hidden=head[1],
    )


def _faults_of_rank(ours: State, table: Mapping[str, str]) -> dict[str, list[str]]:
    """Tensors of `RANKS` that are missing or have another number of axes, under the names of the file."""
    missing = [_name(name, table) for name in RANKS if name not in ours]
    misshapen = [
        f"{_name(name, table)} {list(ours[name].shape)} instead of {rank} axes"
        for name, rank in RANKS.items()
        if name in ours and ours[name].ndim != rank
    ]
    return {"lacks": missing, "has": misshapen}


def _blocks(state: State, pattern: str) -> int:
    return len({match[1] for name in state if (match := re.match(pattern, name))})


def _compare(uri: str, state: State, layout: _Layout, config: BiomedClipConfig) -> None:
    """Raise a `BundleError` unless `state`, named as in `layout`, holds exactly the tensors of a model of `config`."""
    with torch.device("meta"):
        wanted = layout.from_ours(BiomedClip(config).state_dict())
    misshapen = [
        f"{name} {list(state[name].shape)} instead of {list(wanted[name].shape)}"
        for name in wanted
        if name in state and state[name].shape != wanted[name].shape
    ]
    missing, foreign = ([name for name in a if name not in b] for a, b in ((wanted, state), (state, wanted)))
    _refuse(uri, {"lacks": missing, "has": misshapen, "also has": foreign})


def _refuse(uri: str, faults: Mapping[str, list[str]]) -> None:
    listed = [
        f"{verb} {', '.join(names[:3])}" + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        for verb, names in faults.items()
        if names
    ]
    if listed:
        raise BundleError(
            f"{uri} is not a BiomedCLIP: it {'; it '.join(listed)}; name a checkpoint of that architecture"
        )
