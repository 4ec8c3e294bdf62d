from datetime import UTC, datetime

import pyarrow as pa

from cxr_ray.archive.datasets import dataset_fingerprint
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.evaluation.provenance import describe
from cxr_ray.schema import TIMESTAMP


def test_runs_and_times_of_all_rows_are_named(dataset_table, image_row):
    moments = [datetime(2025, 3, 1, 4, tzinfo=UTC), None, datetime(2025, 3, 1, 2, 30, 15, 7, tzinfo=UTC)]
    rows = pa.table(
        {
            "image_id": ["a", "b", "c"],
            "label": ["COVID"] * 3,
            "model_id": ["m", None, "m"],
            "preprocessing_id": ["p", None, "p"],
            "run_id": ["second", None, "first"],
            "scored_at": pa.array(moments, TIMESTAMP),
        }
    )
    config = EvaluateClassifierConfig(predictions_uri="s3://p", dataset_uri="s3://d", output_uri="s3://o")

    dataset = dataset_table([image_row("a", "COVID") | {"content_sha256": "0" * 64}])
    described = describe(rows, dataset, config)

    assert described["dataset_fingerprint"] == dataset_fingerprint(dataset)
    assert described["model_id"] == ["m"]
    assert described["run_id"] == ["first", "second"]
    assert described["scored_from"] == "2025-03-01 02:30:15 UTC"
    assert described["scored_until"] == "2025-03-01 04:00:00 UTC"
    assert (described["predictions_uri"], described["dataset_uri"], described["split"]) == ("s3://p", "s3://d", "test")


def test_predictions_without_provenance_have_no_models_and_no_times(dataset_table, image_row):
    names = ("model_id", "preprocessing_id", "run_id")
    rows = pa.table({name: pa.nulls(2, pa.string()) for name in names} | {"scored_at": pa.nulls(2, TIMESTAMP)})
    config = EvaluateClassifierConfig(predictions_uri="s3://p", dataset_uri="s3://d", output_uri="s3://o")
    described = describe(rows, dataset_table([image_row("a", "COVID")]), config)
    assert described["model_id"] == []
    assert "scored_from" not in described
