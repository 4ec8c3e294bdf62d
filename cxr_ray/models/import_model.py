"""Turn weights that somebody else trained into a bundle; what cannot be taken over exactly is refused."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cxr_ray.archive.datasets import read_dataset
from cxr_ray.archive.uris import absolute_uri, exists, join_uri
from cxr_ray.config import ImportConfig
from cxr_ray.config.redaction import redacted
from cxr_ray.config.terminal import print_line
from cxr_ray.errors import BundleError, ConfigError
from cxr_ray.imaging.resize import INTERPOLATIONS
from cxr_ray.models.backbones import build_network
from cxr_ray.models.bundle import CARD_NAME, ModelCard, save_bundle
from cxr_ray.models.encoder_card import EncoderCard
from cxr_ray.models.foreign.architectures import Architecture, architecture_of, backbone_of
from cxr_ray.models.foreign.load import ANY_IMAGE_SIZE, Loaded, load_foreign
from cxr_ray.models.foreign.preprocessing import Preprocessing
from cxr_ray.models.foreign.source import Source, read_source
from cxr_ray.models.foreign.timm_filters import filtered_by_timm
from cxr_ray.schema import probability_column

if TYPE_CHECKING:
    from cxr_ray.models.state_file import State

NON_COMMERCIAL = re.compile(r"(^|[^a-z])nc([^a-z]|$)|non.?commercial", re.IGNORECASE)
MOST_NAMES_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Imported:
    """Weights for a bundle and the fields of its card.

    Attributes:
        weights: tensors of the network that `card` describes.
        card: fields of `ModelCard` or `EncoderCard`.
    """

    weights: "State"
    card: dict[str, Any]


def import_model(config: ImportConfig, show: Callable[[str], object] = print_line) -> ModelCard:
    """Write the bundle of `config.weights_uri` to `config.output_uri` and return its card.

    Args:
        config: the weights, the architecture, the labels and the output.
        show: function that is called with each line of the summary.

    Raises:
        BundleError: if the weights cannot be read, do not fit the architecture, or compute another function.
        ConfigError: if the architecture or the labels do not exist or do not fit, or a bundle is at the output.
        StorageError: if the output cannot be written.
    """
    output_uri = absolute_uri(config.output_uri)
    if exists(join_uri(output_uri, CARD_NAME)) and not config.overwrite:
        raise ConfigError(f"a bundle is at {output_uri}; name another output or add --overwrite")
    architecture_of(config.architecture)  # a wrong name is refused before gigabytes are read
    source = read_source(config.weights_uri)
    architecture = architecture_of(config.architecture, needs_timm_preprocessing=source.archive is not None)
    loaded = load_foreign(source, architecture.timm_name)
    labels = chosen_labels(config, source, loaded, architecture)
    inputs = chosen_preprocessing(config, source, architecture, loaded)
    imported = _imported(source, loaded, architecture, labels, inputs)
    licence = config.licence or source.licence or architecture.licence
    imported.card["source"] |= {"licence": licence}
    card_type = ModelCard if labels else EncoderCard
    card = save_bundle(output_uri, imported.weights, card_type, **imported.card)
    for line in _summary(card, output_uri, source=source, loaded=loaded, inputs=inputs, licence=licence):
        show(line)
    return card


def chosen_labels(config: ImportConfig, source: Source, loaded: Loaded, architecture: Architecture) -> tuple[str, ...]:
    """Classes of the bundle in the order of the outputs; () for an encoder.

    Raises:
        ConfigError: if the labels are in another order than in the source, or share a column.
        BundleError: if the head is not one linear layer with an output for each label.
    """
    given = config.labels or (_labels_of_dataset(config.labels_from) if config.labels_from else ())
    labels = () if config.encoder else given or ((source.labels or ()) if loaded.tensors.head is not None else ())
    if not labels:
        return ()
    if architecture.findings or source.findings:
        raise BundleError(
            f"{source.uri}: each output is a finding of its own, and the classes of a bundle exclude "
            "each other; import its encoder without labels"
        )
    if source.labels and set(source.labels) == set(labels) and source.labels != labels:
        raise ConfigError(
            f"{source.uri} names its outputs {', '.join(source.labels)}; got {', '.join(labels)} in another order"
        )
    if len(set(map(probability_column, labels))) < len(labels):
        raise ConfigError(
            f"some of the {len(labels)} labels would share a column; give others by --labels, or add --encoder"
        )
    if loaded.tensors.head is None or any("pre_logits" in name for name in source.shapes):
        found = f"has the layers {loaded.tensors.heads_found}" if loaded.tensors.heads_found else "has no head"
        raise BundleError(
            f"{source.uri} {found}, and a classifier ends in one linear layer; leave out the labels to import its encoder"
        )
    if loaded.tensors.outputs != len(labels):
        raise BundleError(
            f"{source.uri} has {loaded.tensors.outputs} outputs and {len(labels)} labels: {', '.join(labels)}"
        )
    return labels


def chosen_preprocessing(
    config: ImportConfig, source: Source, architecture: Architecture, loaded: Loaded
) -> Preprocessing:
    """Preprocessing of the bundle: from the options, a description beside the weights, or the architecture, in this order.

    Raises:
        BundleError: if a network for images of one channel has no known mean, or one for each of three channels.
    """
    described, usual = source.preprocessing, architecture.preprocessing
    first = usual if described.mean is None or architecture.is_published else described
    mean, std, origin = first.mean, first.std, first.origin
    if config.mean:
        mean, std, origin = config.mean, config.std, "--mean and --std"
    elif loaded.tensors.was_grey and not (architecture.is_published or described.mean):
        raise BundleError(
            f"{source.uri} takes images of one channel; give the mean and standard deviation of its pixels by --mean and --std, "
            "or name torchxrayvision_densenet121 if it comes from there"
        )
    mean, std = _per_channel(mean), _per_channel(std)
    if not len(mean) == len(std) == 3:
        raise BundleError(
            f"{source.uri} gives the mean {mean} and deviation {std}; give one or three numbers by --mean and --std"
        )
    if loaded.tensors.was_grey and len({*mean}) + len({*std}) > 2:
        raise BundleError(
            f"{source.uri} takes images of one channel, so it needs one mean and one std; got {mean} and {std}"
        )
    interpolation = config.interpolation or first.interpolation or "bilinear"
    if interpolation not in INTERPOLATIONS:
        raise BundleError(
            f"{source.uri} resizes by {interpolation!r}; choose {', '.join(INTERPOLATIONS)} by --interpolation"
        )
    size = config.image_size or loaded.image_size or first.image_size or described.image_size or ANY_IMAGE_SIZE
    return Preprocessing(
        mean=mean, std=std, image_size=size, interpolation=interpolation, crops=first.crops, origin=origin
    )


def _per_channel(values: tuple[float, ...] | None) -> tuple[float, ...]:
    """One number repeated for three channels; three numbers unchanged; () for None."""
    values = values or ()
    return values * 3 if len(values) == 1 else values


def _labels_of_dataset(uri: str) -> tuple[str, ...]:
    labels = read_dataset(uri)["label"].to_pylist()
    if None in labels:
        raise ConfigError(f"{labels.count(None)} images of {uri} have no label; give the classes by --labels")
    return tuple(sorted(set(labels)))


def _imported(
    source: Source, loaded: Loaded, architecture: Architecture, labels: tuple[str, ...], inputs: Preprocessing
) -> Imported:
    """Weights and card for the network of the bundle, at its image size and with its number of outputs."""
    import torch

    key, size = backbone_of(architecture.timm_name), inputs.image_size or ANY_IMAGE_SIZE
    options = dict(loaded.options)
    if loaded.image_size is not None:
        options["img_size"] = size
    if key is not None and not options.keys() - {"img_size"}:
        name, network = key, None
    else:
        name, network = architecture.timm_name, options
    model = build_network(name, num_classes=len(labels), image_size=size, options=network)
    weights = filtered_by_timm(loaded.tensors.body, model)
    model.load_state_dict(weights | (loaded.tensors.head or {} if labels else {}))
    card = {
        "backbone": name,
        "image_size": size,
        "mean": inputs.mean,
        "std": inputs.std,
        "interpolation": inputs.interpolation,
        "network": network,
        "source": {"uri": redacted(source.uri), "sha256": source.sha256, "layout": source.layout},
    }
    with torch.inference_mode():
        outputs = model.eval()(torch.zeros(1, 3, size, size))
    if not outputs.isfinite().all():
        raise BundleError(
            f"{source.uri} gives {outputs.flatten()[0]} for a black image; take a checkpoint of an earlier epoch"
        )
    card |= {"kind": "classifier", "labels": labels} if labels else {"features": int(outputs.shape[1])}
    return Imported(weights=model.state_dict(), card=card)


def _summary(
    card: ModelCard, output_uri: str, *, source: Source, loaded: Loaded, inputs: Preprocessing, licence: str | None
) -> list[str]:
    compared = loaded.compared_with
    lines = [
        f"{card.kind} {card.model_id} in {output_uri}, from {source.uri} ({source.layout})",
        "outputs: " + ", ".join(f"{number} {label}" for number, label in enumerate(card.labels))
        if card.labels
        else f"features: {card.features}"
        if isinstance(card, EncoderCard)
        else "",
        f"inputs: {card.image_size} px, {card.interpolation}, mean {_short(card.mean)}, std {_short(card.std)} ({inputs.origin})",
        f"function: equal to that of {compared}"
        if compared
        else "function: every tensor fits; no other network to compare with",
        *(f"note: {note}" for note in source.checkpoint.notes),
    ]
    if inputs.crops:
        lines.append(f"note: the source shows its network {inputs.crops} of an image; here whole images are squashed")
    if loaded.image_size is not None and loaded.image_size != card.image_size:
        lines.append(f"note: the weights are for {loaded.image_size} px; position embeddings were interpolated")
    if unused := loaded.tensors.unused:
        more = f" and {len(unused) - MOST_NAMES_SHOWN} more" * (len(unused) > MOST_NAMES_SHOWN)
        lines.append(f"note: not used: {', '.join(unused[:MOST_NAMES_SHOWN])}{more}")
    if not card.labels and loaded.tensors.outputs:
        lines.append(f"note: the head of {loaded.tensors.outputs} outputs was left out; --labels keeps it")
    lines.append(f"licence: {licence or 'unknown; record it by --licence'}")
    if licence and NON_COMMERCIAL.search(licence):
        lines.append(
            f"WARNING: the licence {licence} forbids commercial use of this model and of what is trained from it"
        )
    return lines


def _short(values: tuple[float, ...]) -> str:
    return "/".join(f"{value:.4g}" for value in dict.fromkeys(values))
