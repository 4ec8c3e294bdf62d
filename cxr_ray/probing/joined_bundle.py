"""Join a linear probe to its encoder: an ordinary classifier bundle, whose head is the probe."""

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.run_record import RECORD_NAME, is_run_record
from cxr_ray.archive.uris import absolute_uri, exists, join_uri, parent_uri, read_bytes
from cxr_ray.errors import BundleError, CxrRayError, DatasetError
from cxr_ray.models.bundle import ModelCard, load_weights, save_bundle
from cxr_ray.models.encoder import Encoder, read_encoder_card
from cxr_ray.models.engines.agreement import check_pixels
from cxr_ray.models.feature_layer import POOLED
from cxr_ray.probing.linear_probe import LinearProbe
from cxr_ray.schema import EMBEDDING_COLUMN, LAYER_COLUMN

if TYPE_CHECKING:
    from torch import nn

TOLERANCE = 1e-3
"""Largest difference of a logit from that of the probe on the encoder's features, relative to the largest logit."""


def only_value(rows: pa.Table, name: str) -> str:
    """The one value of a column of a table of embeddings.

    Raises:
        DatasetError: if rows differ in it, so that they are no embeddings of one kind.
    """
    values = pc.unique(rows[name]).to_pylist()
    if len(values) != 1 or values[0] is None:
        raise DatasetError(
            f"the embeddings differ in {name}: {', '.join(map(str, values[:3]))}; name a table of one kind"
        )
    return str(values[0])


def encoder_id_of(rows: pa.Table, column: str) -> str:
    """Id of the model that computed the embeddings in `column`."""
    own = f"{column.removeprefix(EMBEDDING_COLUMN).lstrip('_')}_model_id"
    return only_value(rows, own if own in rows.column_names else "model_id")


def find_encoder(embeddings_uri: str, rows: pa.Table, column: str, *, model_uri: str | None) -> tuple[str, ModelCard]:
    """URI and card of the encoder that computed the embeddings.

    Args:
        embeddings_uri: where the embeddings were read from.
        rows: their other columns.
        column: name of the column of the embeddings.
        model_uri: URI of its bundle; None takes those that the `run.json` of the embeddings names.

    Raises:
        BundleError: if there is no such bundle, or it is another one than that of the embeddings.
        DatasetError: if the embeddings are not those that the head of the network reads.
    """
    if (layer := only_value(rows, LAYER_COLUMN)) != POOLED:
        raise DatasetError(
            f"embeddings of the layer {layer} cannot be joined with the network, whose head reads the layer {POOLED}; "
            f"embed with --layer {POOLED}, or add --no-bundle to judge this layer"
        )
    wanted = encoder_id_of(rows, column)
    uris = [model_uri] if model_uri else _recorded_models(embeddings_uri)
    faults = []
    for uri in uris:
        try:
            card = read_encoder_card(uri)
        except CxrRayError as error:
            faults.append(str(error))
            continue
        if card.model_id != wanted:
            faults.append(f"{uri} holds {card.model_id}")
        elif card.preprocessing_id not in only_value(rows, "preprocessing_id").split("+"):
            faults.append(f"{uri} is prepared otherwise than the embeddings were; embed again")
        else:
            return uri, card
    raise BundleError(
        f"the embeddings are of {wanted}, whose bundle was not found: {'; '.join(faults) or 'no run.json names it'}; "
        "name it by --model-uri"
    )


def _recorded_models(embeddings_uri: str) -> list[str]:
    """URIs of the models that the record of the embedding job names, which lies beside its table."""
    uri = absolute_uri(embeddings_uri).rstrip("/")
    for folder in (uri, parent_uri(uri), parent_uri(parent_uri(uri))):  # the output, its table, or a file of that
        record = join_uri(folder, RECORD_NAME)
        if exists(record) and is_run_record(data := read_bytes(record)):
            named = json.loads(data)["config"].get("model_uri")
            return list(map(absolute_uri, named)) if isinstance(named, list) else []
    return []


def save_joined(
    output_uri: str, encoder: tuple[str, ModelCard], probe: LinearProbe, labels: tuple[str, ...], **card: Any
) -> ModelCard:
    """Write the classifier whose body is the encoder and whose head is the probe; returns its card.

    Args:
        output_uri: folder that becomes the bundle.
        encoder: URI and card of the encoder.
        probe: the probe, for the encoder's pooled features.
        labels: the classes in the order of the probe's outputs.
        card: further fields of the card.

    Raises:
        BundleError: if the head of the network is no linear layer on these features, as of some networks of timm.
    """
    uri, own = encoder
    network = joined_network(uri, own, probe)
    fields = {
        name: getattr(own, name) for name in ("backbone", "image_size", "mean", "std", "interpolation", "network")
    }
    return save_bundle(
        output_uri, network.state_dict(), ModelCard, kind=ModelCard.kind, labels=labels,
        source=own.source | {"encoder": own.model_id}, **fields, **card,
    )  # fmt: skip


def joined_network(uri: str, card: ModelCard, probe: LinearProbe) -> "nn.Module":
    """Network of the bundle at `uri` with the probe as its head, in eval mode on the CPU.

    Raises:
        BundleError: if its logits are not those of the probe on the encoder's features.
    """
    import torch

    from cxr_ray.models.backbones import build_network
    from cxr_ray.models.foreign.fitting import head_names

    network = build_network(
        card.backbone, num_classes=len(probe.bias), image_size=card.image_size, options=card.network
    ).eval()
    heads = head_names(network)
    body = {name: tensor for name, tensor in load_weights(uri, card).items() if name not in heads}
    tensors = {2: torch.tensor(probe.weights, dtype=torch.float32), 1: torch.tensor(probe.bias, dtype=torch.float32)}
    wanted = network.state_dict()
    head = {name: tensors.get(wanted[name].ndim, wanted[name]) for name in heads}
    fits = body.keys() | head.keys() == wanted.keys() and all(head[n].shape == wanted[n].shape for n in heads)
    if not heads or not fits:
        shapes = ", ".join(f"{name} {tuple(wanted[name].shape)}" for name in heads) or "none"
        raise BundleError(
            f"{uri}: the probe of {probe.weights.shape[1]} features fits no head of {card.backbone} ({shapes}); score its "
            "embeddings instead"
        )
    network.load_state_dict(body | head)
    _require_same_logits(network, uri, card, probe)
    return network


def _require_same_logits(network: "nn.Module", uri: str, card: ModelCard, probe: LinearProbe) -> None:
    import torch

    from cxr_ray.models.pixel_networks import PixelNetwork

    pixels = check_pixels(card.image_size)[:2]
    expected = probe.logits(Encoder(uri, device="cpu", precision="fp32").embed(pixels))
    with torch.inference_mode():
        inputs = PixelNetwork(network, card, torch.contiguous_format).inputs(torch.from_numpy(pixels))
        found: np.ndarray = network(inputs).double().numpy()
    if not np.abs(found - expected).max() <= TOLERANCE * max(1.0, np.abs(expected).max()):
        raise BundleError(
            f"{uri}: the head of {card.backbone} reads other features than its encoder gives, so the probe cannot become its "
            "head; score its embeddings instead"
        )
