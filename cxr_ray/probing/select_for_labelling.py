"""Choose the images whose labels would teach a probe most, and write them as a CSV file for the radiologist."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.embeddings import Embeddings, read_embeddings
from cxr_ray.archive.uris import absolute_uri, exists, write_bytes
from cxr_ray.config.probing import SelectConfig
from cxr_ray.config.terminal import print_line
from cxr_ray.errors import BundleError, ConfigError, DatasetError
from cxr_ray.models.bundle import ModelCard, load_weights, read_card
from cxr_ray.models.task import entropy, outcomes
from cxr_ray.probing.diverse_images import diverse, uncertain_and_diverse
from cxr_ray.probing.joined_bundle import encoder_id_of
from cxr_ray.probing.label_table import read_labels

ROWS_AT_ONCE = 65_536
"""Number of embeddings whose probabilities are computed at a time."""


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Unlabelled images among which the choice is made.

    Attributes:
        places: int64 [N], positions among the embeddings.
        probabilities: float32 [N, K] of a probe; None without one.
        names: possible outcomes of a prediction, K names; () without a probe.
    """

    places: np.ndarray
    probabilities: np.ndarray | None
    names: tuple[str, ...]


def select_for_labelling(config: SelectConfig, show: Callable[[str], object] = print_line) -> list[str]:
    """Choose unlabelled images, and write them to the CSV file `config.output_uri`, those that teach most first.

    Returns:
        The `image_id` of each chosen image.

    Raises:
        BundleError: if the probe is missing, or it is not of the encoder of these embeddings.
        ConfigError: if there is a file at the output, in which labels may have been filled in.
        DatasetError: if a table is not understood, or every image has a label.
        StorageError: if a table cannot be read or the output cannot be written.
    """
    output_uri = absolute_uri(config.output_uri)
    if exists(output_uri):
        raise ConfigError(f"{output_uri} exists and may hold labels; name another file")
    embeddings = read_embeddings(config.embeddings_uri, config.column)
    is_labelled = _is_labelled(embeddings, config)
    candidates = _candidates(config, embeddings, np.flatnonzero(~is_labelled))
    vectors = embeddings.vectors[candidates.places].astype(np.float32)
    if candidates.probabilities is None:
        known = embeddings.vectors[is_labelled].astype(np.float32)
        chosen = diverse(vectors, known, count=config.count, seed=config.seed)
        method = "diverse by k-means++ on embeddings"
    else:
        chosen = uncertain_and_diverse(vectors, candidates.probabilities, count=config.count, seed=config.seed)
        method = "uncertain and diverse by BADGE"
    rows = embeddings.rows.take(pa.array(candidates.places[chosen]))
    write_bytes(output_uri, _csv(config, rows, candidates, chosen))
    show(
        f"{len(chosen):,} images in {output_uri}, {method}, of {len(candidates.places):,} candidates; "
        f"{len(is_labelled) - int(is_labelled.sum()):,} images have no label, {int(is_labelled.sum()):,} have one"
    )
    if len(chosen) < config.count:
        show(f"all other candidates are copies of these {len(chosen):,}")
    return [str(image_id) for image_id in rows["image_id"].to_pylist()]


def _is_labelled(embeddings: Embeddings, config: SelectConfig) -> np.ndarray:
    """Whether each embedding is of an image that a table labels, bool [N]."""
    if not config.dataset_uri:
        return np.zeros(len(embeddings.vectors), bool)
    labelled = read_labels(config.dataset_uri).rows["image_id"].combine_chunks()
    found = np.asarray(pc.is_in(embeddings.rows["image_id"], value_set=labelled).to_numpy())
    if found.all():
        raise DatasetError(f"every image of {config.embeddings_uri} has a label; embed more images")
    return found


def _candidates(config: SelectConfig, embeddings: Embeddings, places: np.ndarray) -> Candidates:
    """The most uncertain of the images at `places`; without a probe, a random sample of them."""
    most = config.max_candidates
    if config.probe_uri is None:
        sample = np.random.default_rng(config.seed).permutation(places)[:most]
        return Candidates(places=np.sort(sample), probabilities=None, names=())
    card = read_card(config.probe_uri)
    _require_own_encoder(config.probe_uri, card, encoder_id_of(embeddings.rows, embeddings.column))
    weights, bias = head_of(config.probe_uri, card)
    names: tuple[str, ...] = ()
    probabilities = np.empty((len(places), 2 if len(card.labels) == 1 else len(card.labels)), np.float32)
    for start in range(0, len(places), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        logits = embeddings.vectors[places[part]].astype(np.float32) @ weights.T + bias
        names, probabilities[part] = outcomes(card.labels, _probabilities(logits / card.temperature))
    kept = np.sort(np.argsort(-entropy(probabilities), kind="stable")[:most])
    return Candidates(places=places[kept], probabilities=probabilities[kept], names=names)


def _require_own_encoder(uri: str, card: ModelCard, encoder_id: str) -> None:
    made_on = card.source.get("encoder")
    if encoder_id not in (made_on, card.model_id):
        raise BundleError(
            f"{uri} is a probe on {made_on or card.model_id}, and the embeddings are of {encoder_id}; embed with that encoder, or with {uri} itself"
        )


def head_of(uri: str, card: ModelCard) -> tuple[np.ndarray, np.ndarray]:
    """Weights float32 [K, D] and bias float32 [K] of the last layer of a classifier's bundle.

    Raises:
        BundleError: if its last layer is not one linear layer.
    """
    import torch

    from cxr_ray.models.backbones import build_network
    from cxr_ray.models.foreign.fitting import head_names

    with torch.device("meta"):
        network = build_network(
            card.backbone, num_classes=len(card.labels), image_size=card.image_size, options=card.network
        )
    state = load_weights(uri, card)
    head = [state[name].float().numpy() for name in head_names(network) if name in state]
    matrices, biases = ([tensor for tensor in head if tensor.ndim == ndim] for ndim in (2, 1))
    if not matrices or len(matrices) != len(biases):
        raise BundleError(f"{uri} does not end in a linear layer; name a probe of train_probe.py")
    return np.mean(matrices, axis=0), np.mean(biases, axis=0)  # a distilled network means the outputs of two layers


def _probabilities(logits: np.ndarray) -> np.ndarray:
    from scipy.special import expit, softmax

    return np.asarray(softmax(logits, axis=1) if logits.shape[1] > 1 else expit(logits), np.float32)


def _csv(config: SelectConfig, rows: pa.Table, candidates: Candidates, chosen: list[int]) -> bytes:
    """The chosen images in the columns that `read_labels` reads, and others that help to find and judge them."""
    columns: dict[str, list[object]] = {name: rows[name].to_pylist() for name in ("image_id", "uri")}
    columns["label"] = [""] * len(chosen)
    if candidates.probabilities is not None:
        probabilities = candidates.probabilities[chosen]
        columns["entropy"] = [f"{value:.3f}" for value in entropy(probabilities)]
        if config.show_predictions:
            columns["predicted"] = [candidates.names[number] for number in probabilities.argmax(1)]
            columns["confidence"] = [f"{value:.3f}" for value in probabilities.max(1)]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerows([list(columns), *zip(*columns.values(), strict=True)])
    return text.getvalue().encode()
