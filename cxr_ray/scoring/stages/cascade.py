"""Second stage of the cascade: classify every image, and segment the images that a rule on the prediction selects."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.config import ScoreConfig
from cxr_ray.models.task import Task
from cxr_ray.schema import LUNG_FIELDS, MASK_FIELDS, scores_schema
from cxr_ray.scoring.stages.classify import ClassifyStage
from cxr_ray.scoring.stages.segment_by_model import SegmenterStage


class CascadeStage:
    """Classifiers and a segmenter on one device, for `map_batches(batch_format="pyarrow")`; usable without Ray.

    Args:
        config: config whose options `segment_labels` and `segment_min_confidence` select the images to segment.
        score: keyword arguments of `ClassifyStage`.
        segment: keyword arguments of `SegmenterStage`.
    """

    def __init__(self, *, config: ScoreConfig, score: dict[str, Any], segment: dict[str, Any]) -> None:
        self._score, self._segment = ClassifyStage(**score), SegmenterStage(**segment)
        self._config = config
        self._task = self._score.task
        self.schema = scores_schema(self._task.labels, self._score.prefixes, self._task.fields_of)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Turn N rows of `LoadStage` into N rows of `schema.scores_schema`, in the same order."""
        predictions = self._score(batch)
        is_asked = asked_for(predictions, self._config, self._task)
        places = np.flatnonzero(is_asked)
        masks = self._segment(batch.take(places)).to_pylist() if len(places) else []
        names = [field.name for field in (*MASK_FIELDS, *LUNG_FIELDS)]
        rows: list[dict[str, Any]] = [
            {"mask_status": "skipped" if status == "ok" else None} for status in predictions["status"].to_pylist()
        ]
        for place, mask in zip(places, masks, strict=True):
            rows[place] = {name: mask[name] for name in names} | {
                "mask_status": mask["status"],
                "mask_model_id": mask["model_id"],
                "mask_preprocessing_id": mask["preprocessing_id"],
                "mask_engine": mask["engine"],
            }
        predictions = _with_mask_errors(predictions, places, masks)
        added = pa.schema(field for field in self.schema if field.name not in predictions.column_names)
        filled = pa.Table.from_pylist(rows, schema=added)
        columns = {name: table[name] for table in (predictions, filled) for name in table.column_names}
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)


def _with_mask_errors(predictions: pa.Table, places: np.ndarray, masks: Sequence[dict[str, Any]]) -> pa.Table:
    """Make each row whose mask is an error an error as a whole, so that `--retry-errors` scores its image again."""
    for name in ("status", "error_kind", "error"):
        values = predictions[name].to_pylist()
        for place, mask in zip(places, masks, strict=True):
            if mask["status"] == "error":
                values[place] = mask[name]
        column = pa.array(values, predictions.schema.field(name).type)
        predictions = predictions.set_column(
            predictions.schema.get_field_index(name), predictions.schema.field(name), column
        )
    return predictions


def asked_for(predictions: pa.Table, config: ScoreConfig, task: Task) -> np.ndarray:
    """Select the rows to segment: those without an error whose labels and probabilities satisfy the rule.

    Args:
        predictions: N rows with the column `status` and those of `task`.
        config: config whose options `segment_labels` (all images if empty) and `segment_min_confidence` are the rule.
        task: task of the classifiers.

    Returns:
        bool [N], true for the rows to segment.
    """
    asked = np.array(pc.equal(predictions["status"], "ok").to_pylist(), bool)
    scored = predictions.filter(pa.array(asked))
    columns = {name: scored[name].to_numpy() for name in scored.column_names if name != "status"}
    confidence = task.confidence_in(config.segment_labels, columns).astype(np.float64)
    asked[asked] = confidence >= config.segment_min_confidence  # which NaN is not
    return asked
