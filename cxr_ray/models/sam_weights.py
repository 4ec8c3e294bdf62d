"""Weights of SAM models of any size: downloaded once per node, checked, and recognised by their shapes."""

from collections.abc import Mapping

import torch

from cxr_ray.errors import BundleError, ConfigError, StorageError
from cxr_ray.models.precision import Precision
from cxr_ray.models.sam import PATCH_SIZE, SAM_CONFIGS, Sam, SamConfig, build_sam
from cxr_ray.models.state_file import State, state_of
from cxr_ray.models.weights_cache import fetch_weights


def load_sam(
    uri: str,
    model_type: str | None = None,
    *,
    sha256: str | None = None,
    device: str | None = None,
    precision: Precision = "auto",
) -> Sam:
    """Load the SAM at `uri`; its `model_id` is its type and the first 12 hex digits of the file's sha256.

    Args:
        uri: a safetensors file, or a state dict that can be unpickled without running code, as the published ones can.
        model_type: key of `SAM_CONFIGS` whose sizes the weights must have; None accepts weights of any size.
        sha256: 64 hex digits that the sha256 of the file must equal; None accepts any file.
        device: `cpu`, `cuda` or `cuda:N`; None takes a GPU if there is one, else the CPU.
        precision: precision of the encoder; `auto` takes bf16 where the device has instructions for it, else fp32.

    Raises:
        ConfigError: if `model_type` is not a key of `SAM_CONFIGS`.
        BundleError: if the file does not exist, has another sha256, or holds no SAM of this type.
    """
    if model_type is not None and model_type not in SAM_CONFIGS:
        raise ConfigError(f"no SAM of type {model_type!r}; choose one of {', '.join(SAM_CONFIGS)}")
    try:
        weights = fetch_weights(uri, sha256)
    except StorageError as error:
        raise BundleError(f"no SAM weights: {error}") from error
    state = state_of(uri, weights.data)
    config = _config_in(uri, state, model_type)
    with torch.device("meta"):  # random weights of a vit_h would take longer to draw than the real ones to read
        model = build_sam(config)
    try:
        model.load_state_dict({name: tensor.float() for name, tensor in state.items()}, assign=True)
    except RuntimeError as error:
        raise BundleError(
            f"{uri} holds no SAM: {str(error).splitlines()[-1].strip()[:200]}; name weights of segment_anything"
        ) from error
    return Sam(model, device=device, precision=precision, model_id=f"{sam_type(config)}-{weights.sha256[:12]}")


def sam_type(config: SamConfig) -> str:
    """Type of a SAM: `sam_vit_b`, `sam_vit_l` or `sam_vit_h`, or `sam` for other sizes."""
    return next((f"sam_{name}" for name, known in SAM_CONFIGS.items() if known == config), "sam")


def config_of(state: Mapping[str, torch.Tensor]) -> SamConfig:
    """Infer the sizes of a SAM from the shapes of the tensors in `state`.

    Raises:
        KeyError: if a tensor that shows the sizes of a SAM is missing.
        ValueError: if a tensor that shows the sizes does not have the shape it has in a SAM.
    """
    positions = state["image_encoder.pos_embed"].shape
    if len(positions) != 4 or positions[1] != positions[2]:
        raise ValueError(f"image_encoder.pos_embed is {list(positions)}, not [1, G, G, C]")
    offsets: dict[int, torch.Size] = {}
    while (name := f"image_encoder.blocks.{len(offsets)}.attn.rel_pos_h") in state:
        offsets[len(offsets)] = _shape_of(state, name, 2)
    if not offsets:
        raise KeyError(name)
    grid, width = positions[1], positions[3]
    head_dim = offsets[0][-1]
    if not head_dim or width % head_dim:
        raise ValueError(f"heads of {head_dim} channels do not divide a width of {width}")
    return SamConfig(
        encoder_depth=len(offsets),
        encoder_embed_dim=width,
        encoder_num_heads=width // head_dim,
        # a block with global attention has an offset for every distance in the grid, one with windows for 14 patches
        encoder_global_attn_indexes=tuple(index for index, shape in offsets.items() if shape[0] == 2 * grid - 1),
        prompt_embed_dim=_shape_of(state, "prompt_encoder.no_mask_embed.weight", 2)[-1],
        image_size=grid * PATCH_SIZE,
    )


def _shape_of(state: Mapping[str, torch.Tensor], name: str, axes: int) -> torch.Size:
    shape = state[name].shape
    if len(shape) != axes:
        raise ValueError(f"{name} is {list(shape)}, not of {axes} axes as in a SAM")
    return shape


def _config_in(uri: str, state: State, model_type: str | None) -> SamConfig:
    try:
        config = config_of(state)
    except (KeyError, ValueError) as error:
        fault = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise BundleError(f"{uri} holds no SAM: {fault}; name weights of segment_anything") from error
    if model_type is not None and config != SAM_CONFIGS[model_type]:
        raise BundleError(
            f"{uri} holds no sam_{model_type} but {sam_type(config)} of width {config.encoder_embed_dim} and "
            f"{config.encoder_depth} blocks; name other weights or leave the type out"
        )
    return config
