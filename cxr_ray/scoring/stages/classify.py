"""Second stage of classification: predict the classes of loaded images, in an actor that holds all models."""

import numpy as np
import pyarrow as pa

from cxr_ray.models.classifier import Classifier
from cxr_ray.models.engines.engine import EngineName
from cxr_ray.models.precision import Precision
from cxr_ray.models.task import Task, task_of_mean
from cxr_ray.schema import predictions_schema
from cxr_ray.scoring.stages.model_outputs import model_prefixes, outputs_of, provenance_of, refuse_not_finite


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
        self.task = task_of_mean(model_uris, self.cards)
        self.schema = predictions_schema(self.task.labels, self.prefixes, self.task.fields_of)
        self.run_id = run_id

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Turn N rows of `LoadStage` into N rows of `schema.predictions_schema`; scores of error rows are null."""
        widths = [len(card.labels) for card in self.cards]
        batch, scores, present = refuse_not_finite(batch, *outputs_of(batch, self.models, widths))
        mean = np.mean(scores, axis=0)
        columns = {name: batch[name] for name in batch.column_names}
        columns |= provenance_of(self.models, self.run_id, batch.num_rows)
        columns |= _score_columns(mean, self.task, present, "")
        for prefix, model, probs in zip(self.prefixes, self.models, scores, strict=False):
            columns |= _score_columns(probs, model.task, present, prefix)
            columns[f"{prefix}model_id"] = pa.array([model.card.model_id] * batch.num_rows)
        empty = pa.nulls(batch.num_rows)
        return pa.table([columns.get(field.name, empty).cast(field.type) for field in self.schema], schema=self.schema)


def _score_columns(probs: np.ndarray, task: Task, present: np.ndarray, prefix: str) -> dict[str, pa.Array]:
    """Columns of the predictions of `task` for N rows; values are null where `present` is false."""
    return {prefix + name: _spread(values, present) for name, values in task.columns(probs).items()}


def _spread(values: np.ndarray, present: np.ndarray) -> pa.Array:
    """Put `values` [K] at the K positions where `present` [N] is true; the other values are null."""
    if present.all():
        return pa.array(values)
    places = np.cumsum(present) - 1
    return pa.array(values).take(pa.array(places, mask=~present))
