"""Second stage of the cascade: pixels to predictions, and to masks where a rule on the prediction asks for one."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from cxr_ray.config import ScoreConfig
from cxr_ray.schema import LUNG_FIELDS, MASK_FIELDS, scores_schema
from cxr_ray.scoring.stages.classify import ClassifyStage
from cxr_ray.scoring.stages.segment_by_model import SegmenterStage


class CascadeStage:
    """Classifiers and a segmenter on one device, for `map_batches(batch_format="pyarrow")`; usable without Ray.

    Args:
        config: the rule.
        score: arguments of `ClassifyStage`.
        segment: arguments of `SegmenterStage`.
    """

    def __init__(self, *, config: ScoreConfig, score: dict[str, Any], segment: dict[str, Any]) -> None:
        self._score, self._segment = ClassifyStage(**score), SegmenterStage(**segment)
        self._config = config
        self.schema = scores_schema(self._score.cards[0].labels, self._score.prefixes)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Loaded rows to rows of `schema.scores_schema`, in their order."""
        predictions = self._score(batch)
        is_asked = asked_for(predictions, self._config)
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
            }
        predictions = _with_verdicts(predictions, places, masks)
        added = pa.schema(field for field in self.schema if field.name not in predictions.column_names)
        filled = pa.Table.from_pylist(rows, schema=added)
        columns = {name: table[name] for table in (predictions, filled) for name in table.column_names}
        return pa.table([columns[name] for name in self.schema.names], schema=self.schema)


def _with_verdicts(predictions: pa.Table, places: np.ndarray, masks: Sequence[dict[str, Any]]) -> pa.Table:
    """Predictions whose row is an error, and due again with `--retry-errors`, where its mask is one."""
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


def asked_for(predictions: pa.Table, config: ScoreConfig) -> np.ndarray:
    """Which rows are to be segmented, bool [N]: those without an error whose class the rule names."""
    labels, statuses = predictions["label"].to_pylist(), predictions["status"].to_pylist()
    confidences = predictions["confidence"].to_pylist()
    return np.array(
        [
            status == "ok"
            and (not config.segment_labels or label in config.segment_labels)
            and confidence >= config.segment_min_confidence
            for status, label, confidence in zip(statuses, labels, confidences, strict=True)
        ],
        bool,
    )
