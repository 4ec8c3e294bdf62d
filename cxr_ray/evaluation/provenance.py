"""Provenance of an evaluation: the models, runs, times and data that are needed to find its parts or to repeat it."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc

import cxr_ray
from cxr_ray.archive.datasets import dataset_fingerprint
from cxr_ray.config import EvaluateClassifierConfig, EvaluateSegmenterConfig

ENDS = {"from": "min", "until": "max"}


def describe(
    rows: pa.Table, dataset: pa.Table, config: EvaluateClassifierConfig | EvaluateSegmenterConfig
) -> dict[str, str | list[str]]:
    """Collect the models, runs, times and data behind the rows of an evaluation, ready for strict JSON.

    Args:
        rows: rows with the columns `model_id`, `preprocessing_id`, `run_id` and `scored_at`, any of them null.
        dataset: rows of `schema.DATASET`, of all splits.
        config: config of the evaluation.

    Returns:
        Lists of the distinct ids, and strings; times are in UTC to the second. `scored_from` and `scored_until` are
        missing if every `scored_at` is null.
    """
    scored_at = pc.min_max(rows["scored_at"])
    return {
        **{name: _distinct(rows[name]) for name in ("model_id", "preprocessing_id", "run_id")},
        **{f"scored_{name}": _to_the_second(at) for name, end in ENDS.items() if (at := scored_at[end].as_py())},
        "predictions_uri": config.predictions_uri,
        "dataset_uri": config.dataset_uri,
        "dataset_fingerprint": dataset_fingerprint(dataset),
        "split": config.split,
        "evaluated_at": _to_the_second(datetime.now(UTC)),
        "code_version": cxr_ray.__version__,
    }


def _distinct(column: pa.ChunkedArray) -> list[str]:
    return sorted(filter(None, pc.unique(column).to_pylist()))


def _to_the_second(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
