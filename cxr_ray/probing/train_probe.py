"""Train a linear probe on embeddings, judge it by whole patients, and write it as a classifier bundle."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from cxr_ray.archive.embeddings import read_embeddings
from cxr_ray.archive.job_outputs import require_other_place
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import absolute_uri, exists, join_uri, write_bytes
from cxr_ray.config.probing import TrainProbeConfig
from cxr_ray.config.terminal import print_line
from cxr_ray.errors import ConfigError, DatasetError
from cxr_ray.metrics.calibration import fit_temperature
from cxr_ray.models.bundle import CARD_NAME
from cxr_ray.probing.folds import require_folds
from cxr_ray.probing.joined_bundle import encoder_id_of, find_encoder, save_joined
from cxr_ray.probing.judgement import CrossValidation, cross_validate, fitted, judged, learning_curve
from cxr_ray.probing.label_table import read_labels
from cxr_ray.probing.labelled_embeddings import LabelledEmbeddings, labelled_embeddings
from cxr_ray.probing.linear_probe import LinearProbe
from cxr_ray.probing.probe_lines import summary_lines
from cxr_ray.schema import probability_column

RESULTS_NAME, ROWS_NAME = "probe.json", "cross_validation.parquet"


def train_probe(config: TrainProbeConfig, show: Callable[[str], object] = print_line) -> dict[str, Any]:
    """Fit logistic regression on the embeddings of labelled images, judge it, and join it to the encoder.

    Images of the test split, if the labels name one, only judge; all others are learned from, and predicted by
    cross-validation.

    Args:
        config: the embeddings, the labels and the output.
        show: function that is called with each line of the summary.

    Returns:
        The content of `probe.json`.

    Raises:
        BundleError: if the encoder is not found, or the probe cannot become the head of its network.
        ConfigError: if a bundle is at the output.
        DatasetError: if the tables do not fit together, or a class has too few patients.
        StorageError: if a table cannot be read or the output cannot be written.
    """
    output_uri = absolute_uri(config.output_uri)
    require_other_place(output_uri, embeddings_uri=config.embeddings_uri)
    if exists(join_uri(output_uri, CARD_NAME)) and not config.overwrite:
        raise ConfigError(f"a bundle is at {output_uri}; name another output or add --overwrite")
    embeddings = read_embeddings(config.embeddings_uri, config.column)
    encoder = None
    if config.bundle:  # a bundle that cannot be written is refused before anything is learned
        encoder = find_encoder(config.embeddings_uri, embeddings.rows, embeddings.column, model_uri=config.model_uri)
    data = labelled_embeddings(embeddings, read_labels(config.dataset_uri), config.dataset_uri)
    learned = _to_learn_from(data, config)
    balanced = config.class_balance == "balanced"
    validation = cross_validate(learned, folds=config.folds, balanced=balanced, seed=config.seed)
    probe = fitted(learned, balanced=balanced, seed=config.seed)
    temperature = fit_temperature(validation.logits.astype(np.float32), learned.truth)
    results = {
        "encoder": encoder_id_of(embeddings.rows, embeddings.column),
        "layer": embeddings.rows["layer"][0].as_py(),
    }
    results |= _results(config, data, validation, probe, temperature)
    written = None
    if encoder:
        metrics = {name: results["cross_validation"][name] for name in ("accuracy", "macro_f1", "macro_auroc")}
        written = save_joined(output_uri, encoder, probe, data.labels, temperature=temperature, metrics=metrics)
    write_bytes(join_uri(output_uri, RESULTS_NAME), (json.dumps(results, indent=2, allow_nan=False) + "\n").encode())
    write_table(_rows(learned, validation, temperature), join_uri(output_uri, ROWS_NAME))
    write_run_record(output_uri, config, model_id=written.model_id if written else None)
    for line in (*data.notes, *summary_lines(results)):
        show(line)
    show(f"classifier {written.model_id} in {output_uri}" if written else f"{RESULTS_NAME} in {output_uri}")
    return results


def _to_learn_from(data: LabelledEmbeddings, config: TrainProbeConfig) -> LabelledEmbeddings:
    """The images outside the test split.

    Raises:
        DatasetError: if a patient or copies of an image are on both sides, or a class has too few patients.
    """
    learned = data.part(~data.is_test)
    if shared := set(learned.groups.tolist()) & set(data.groups[data.is_test].tolist()):
        first = data.image_ids[int(np.flatnonzero(data.is_test & np.isin(data.groups, list(shared)))[0])]
        raise DatasetError(
            f"{len(shared):,} patients have images in the test split and outside it, for instance that of {first!r}; give the "
            "images of a patient one split"
        )
    require_folds(learned.truth, learned.groups, data.labels, folds=config.folds)
    return learned


def _results(
    config: TrainProbeConfig,
    data: LabelledEmbeddings,
    validation: CrossValidation,
    probe: LinearProbe,
    temperature: float,
) -> dict[str, Any]:
    balanced = config.class_balance == "balanced"
    learned, test = data.part(~data.is_test), data.part(data.is_test)
    votes = validation.votes
    right = {count: float((shares.argmax(1) == learned.truth).mean()) for count, shares in votes.items()}
    best = max(right, key=lambda count: (right[count], -count))
    curve = learning_curve(learned, validation, balanced=balanced, seed=config.seed) if config.learning_curve else []
    return {
        "labels": list(data.labels),
        "features": int(data.vectors.shape[1]),
        "class_balance": config.class_balance,
        "strength": probe.strength,
        "temperature": temperature,
        "cross_validation": judged(learned, _softmax(validation.logits / temperature)) | {"folds": config.folds},
        "test": judged(test, _softmax(probe.logits(test.vectors) / temperature)) if test.image_ids else None,
        "nearest_neighbours": judged(learned, votes[best]) | {"neighbours": best},
        "learning_curve": curve,
    }


def _rows(data: LabelledEmbeddings, validation: CrossValidation, temperature: float) -> pa.Table:
    """A row per image that was learned from, with what the probe said that had not seen it."""
    names, probabilities = np.array(data.labels), _softmax(validation.logits / temperature)
    return pa.table(
        {
            "image_id": pa.array(data.image_ids, pa.string()),
            "fold": pa.array(validation.fold, pa.int32()),
            "label": pa.array(names[data.truth]),
            "predicted": pa.array(names[probabilities.argmax(1)]),
            "confidence": pa.array(probabilities.max(1).astype(np.float32)),
            **{
                probability_column(label): pa.array(probabilities[:, number].astype(np.float32))
                for number, label in enumerate(data.labels)
            },
        }
    ).sort_by("image_id")


def _softmax(logits: np.ndarray) -> np.ndarray:
    from scipy.special import softmax

    return np.asarray(softmax(logits, axis=1))
