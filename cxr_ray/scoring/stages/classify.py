"""Second stage of classification: predict the classes of loaded images, in an actor that holds all models."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.models.classifier import Classifier, entropy, outcomes
from cxr_ray.models.engines.engine import EngineName
from cxr_ray.models.precision import Precision, hardware_name
from cxr_ray.schema import NOT_FINITE, predictions_schema, probability_column
from cxr_ray.scoring.stages.load import Geometry, pixels_of


class ClassifyStage:
    """One copy of the models on one device, for `map_batches(batch_format="pyarrow")`; usable without Ray.

    Args:
        model_uris: URIs of the bundles, 1 or more; the mean of their probabilities fills the columns without a prefix.
        device: `cuda` or `cpu`.
        engine: program that computes the forward pass, see `fastest_engine`.
        precision: floating-point precision of the forward pass.
        threads: number of threads of the forward pass on a CPU; a GPU ignores it.
        run_id: id of the run, which is written to every row.
    """

    def __init__(
        self,
        *,
        model_uris: tuple[str, ...],
        device: str,
        engine: EngineName,
        precision: Precision,
        threads: int,
        run_id: str,
    ) -> None:
        self.models = [
            Classifier(uri, device=device, engine=engine, precision=precision, threads=threads) for uri in model_uris
        ]
        self.cards = [model.card for model in self.models]
        self.prefixes = model_prefixes([card.backbone for card in self.cards])
        self.schema = predictions_schema(self.cards[0].labels, self.prefixes)
        self.run_id = run_id

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Turn N rows of `LoadStage` into N rows of `schema.predictions_schema`; scores of error rows are null."""
        batch, scores, present = refuse_not_finite(batch, *self._scores(batch))
        mean = np.mean(scores, axis=0)
        columns = {name: batch[name] for name in batch.column_names} | self._provenance(batch.num_rows)
        columns |= _score_columns(mean, self.cards[0].labels, present, "")
        for prefix, card, probs in zip(self.prefixes, self.cards, scores, strict=False):
            columns |= _score_columns(probs, card.labels, present, prefix)
            columns[f"{prefix}model_id"] = pa.array([card.model_id] * batch.num_rows)
        empty = pa.nulls(batch.num_rows)
        return pa.table([columns.get(field.name, empty).cast(field.type) for field in self.schema], schema=self.schema)

    def _scores(self, batch: pa.Table) -> tuple[list[np.ndarray], np.ndarray]:
        """Predict with each model the K of N images that have pixels.

        Returns:
            The probabilities float32 [K, C] of each model, and bool [N], true for the images that have pixels.
        """
        scores, present = [], np.zeros(batch.num_rows, bool)
        for model in self.models:
            pixels, present = pixels_of(
                batch, Geometry(image_size=model.card.image_size, interpolation=model.card.interpolation)
            )
            labels = len(model.card.labels)
            scores.append(model.predict(pixels) if len(pixels) else np.empty((0, labels), np.float32))
        return scores, present

    def _provenance(self, rows: int) -> dict[str, pa.Array]:
        now, models = pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC")), self.models
        return {
            "model_id": pa.array([joint_model_id([c.model_id for c in self.cards])] * rows),
            "preprocessing_id": pa.array(["+".join(dict.fromkeys(c.preprocessing_id for c in self.cards))] * rows),
            "run_id": pa.array([self.run_id] * rows),
            "scored_at": pa.repeat(now, rows),
            "device": pa.array([hardware_name(models[0].device_name)] * rows),
            "engine": pa.array(["+".join(dict.fromkeys(model.engine.name for model in models))] * rows),
            "precision": pa.array(["+".join(dict.fromkeys(model.precision for model in models))] * rows),
        }


def refuse_not_finite(
    batch: pa.Table, scores: list[np.ndarray], present: np.ndarray
) -> tuple[pa.Table, list[np.ndarray], np.ndarray]:
    """Make a row an error if a model's output for it is NaN or infinity, which would otherwise become a valid label.

    Args:
        batch: N rows of `LoadStage`.
        scores: probabilities [K, C] of each model, C classes.
        present: bool [N], true for the K rows that were scored.

    Returns:
        The three arguments without the scores of the new error rows.
    """
    finite = np.all([np.isfinite(probs).all(1) for probs in scores], axis=0)
    if finite.all():
        return batch, scores, present
    refused = np.zeros_like(present)
    refused[np.flatnonzero(present)[~finite]] = True
    for name, value in NOT_FINITE.items():
        column = pc.if_else(pa.array(refused), value, batch[name])
        batch = batch.set_column(batch.column_names.index(name), name, column)
    return batch, [probs[finite] for probs in scores], present & ~refused


def model_prefixes(backbones: list[str]) -> tuple[str, ...]:
    """Column prefixes of two or more models, such as `resnet50_` and `resnet50_2_`; no prefix for a single model."""
    if len(backbones) == 1:
        return ()
    seen: dict[str, int] = {}
    prefixes = []
    for backbone in backbones:
        seen[backbone] = seen.get(backbone, 0) + 1
        prefixes.append(f"{backbone}_" if seen[backbone] == 1 else f"{backbone}_{seen[backbone]}_")
    return tuple(prefixes)


def joint_model_id(model_ids: list[str]) -> str:
    """Join the ids of the models whose mean is the prediction; the id of a single model does not change."""
    return "+".join(model_ids)


def _score_columns(probs: np.ndarray, labels: tuple[str, ...], present: np.ndarray, prefix: str) -> dict[str, pa.Array]:
    """Columns of label, confidence, entropy and probabilities for N rows; values are null where `present` is false."""
    names, full = outcomes(labels, probs)
    columns = {
        "label": _spread(np.array(names)[full.argmax(1)], present),
        "confidence": _spread(full.max(1, initial=0), present),
        "entropy": _spread(entropy(probs), present),
    } | {probability_column(label): _spread(probs[:, i], present) for i, label in enumerate(labels)}
    return {prefix + name: column for name, column in columns.items()}


def _spread(values: np.ndarray, present: np.ndarray) -> pa.Array:
    """Put `values` [K] at the K positions where `present` [N] is true; the other values are null."""
    if present.all():
        return pa.array(values)
    places = np.cumsum(present) - 1
    return pa.array(values).take(pa.array(places, mask=~present))
