"""Weights from other sources as a start for training, with another head or another image size."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cxr_ray.config.backbones import BACKBONES, PerChannel
from cxr_ray.errors import BundleError
from cxr_ray.models.foreign.fitting import head_names
from cxr_ray.models.foreign.load import Loaded, load_foreign
from cxr_ray.models.foreign.source import Source, read_source
from cxr_ray.models.foreign.timm_filters import filtered_by_timm

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger("cxr_ray")


def check_starting_weights(uri: str, *, backbone: str) -> None:
    """Read the weights at `uri` and load them once, so that bad ones are refused before a cluster is asked for anything.

    Raises:
        BundleError: if no weights can be read from `uri`, or they are not those of `backbone`.
    """
    _loaded(read_source(uri), backbone, compares=True)


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Mean and standard deviation of each channel, for pixels in 0 to 1."""

    mean: PerChannel
    std: PerChannel


def usual_normalisation(backbone: str) -> Normalisation:
    """The normalisation of the table `BACKBONES`."""
    return Normalisation(BACKBONES[backbone].mean, BACKBONES[backbone].std)


def pretrained_normalisation(model: "nn.Module") -> Normalisation:
    """The normalisation of the weights that timm downloads for `model`."""
    given: Any = model.pretrained_cfg
    return Normalisation(tuple(given["mean"]), tuple(given["std"]))


def load_starting_weights(model: "nn.Module", uri: str, *, backbone: str, labels: Sequence[str] = ()) -> Normalisation:
    """Load the weights at `uri` into `model`: all tensors of the body, and the head where it has the same classes.

    A head whose classes the source names is taken over for the same classes, in the model's order of them; one without
    names is taken over if it has the same number of outputs. A ViT's position embeddings are interpolated to the
    model's grid.

    Args:
        model: a network of `build_backbone`.
        uri: anything that import_model.py reads: a bundle, a state dict, a folder of transformers, a NumPy archive.
        backbone: name of the backbone in `BACKBONES`.
        labels: classes of the model, in the order of its outputs; () if they are unknown.

    Returns:
        The normalisation that a description beside the weights gives, else that of the table.

    Raises:
        BundleError: if no weights can be read from `uri`, or they are not those of `backbone`.
    """
    source = read_source(uri)
    loaded = _loaded(source, backbone, compares=False)
    model.load_state_dict(filtered_by_timm(loaded.tensors.body, model), strict=False)
    for note in source.checkpoint.notes:
        log.info("%s: %s", uri, note)
    log.info("loaded %s tensors from %s", len(loaded.tensors.body), uri)
    rows = _rows(source, loaded, labels, outputs=model.state_dict()[head_names(model)[0]].shape[0])
    if rows is None:
        log.warning("the head of %s is not taken over: %s", uri, _other_head(source, loaded))
    elif loaded.tensors.head is not None:
        model.load_state_dict({name: tensor[rows] for name, tensor in loaded.tensors.head.items()}, strict=False)
    mean, std = source.preprocessing.mean, source.preprocessing.std
    if not (mean and std):
        return usual_normalisation(backbone)
    return Normalisation(_per_channel(mean), _per_channel(std))


def _per_channel(values: Sequence[float]) -> PerChannel:
    first, second, third = tuple(values) * 3 if len(values) == 1 else values
    return first, second, third


def _loaded(source: Source, backbone: str, *, compares: bool) -> Loaded:
    loaded = load_foreign(source, BACKBONES[backbone].timm_name, compares=compares)
    if others := loaded.options.keys() - {"img_size"}:
        raise BundleError(
            f"{source.uri} is no {backbone}: it needs {', '.join(f'{n}={loaded.options[n]}' for n in sorted(others))}; "
            f"import_model.py --architecture {BACKBONES[backbone].timm_name} makes a bundle of it without training"
        )
    return loaded


def _rows(source: Source, loaded: Loaded, labels: Sequence[str], *, outputs: int) -> list[int] | None:
    """Outputs of the source's head for each output of the model; None if the head does not have the same classes."""
    if loaded.tensors.head is None or loaded.tensors.outputs != outputs:
        return None
    if source.labels is None or not labels:
        return list(range(outputs))
    if set(source.labels) != set(labels):
        return None
    return [source.labels.index(label) for label in labels]


def _other_head(source: Source, loaded: Loaded) -> str:
    if source.labels:
        return f"its classes are {', '.join(source.labels)}"
    return f"its shape is {loaded.tensors.heads_found}" if loaded.tensors.heads_found else "there is none"
