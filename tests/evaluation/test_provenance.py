from datetime import UTC, datetime

import pyarrow as pa

from cxr_ray.archive.datasets import dataset_fingerprint
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.evaluation.provenance import describe
from cxr_ray.schema import TIMESTAMP


def test_runs_and_times_of_all_rows_are_told(dataset_table, image_row):
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
    told = describe(rows, dataset, config)

    assert told["dataset_fingerprint"] == dataset_fingerprint(dataset)
    assert told["model_id"] == ["m"]
    assert told["run_id"] == ["first", "second"]
    assert told["scored_from"] == "2025-03-01 02:30:15 UTC"
    assert told["scored_until"] == "2025-03-01 04:00:00 UTC"
    assert (told["predictions_uri"], told["dataset_uri"], told["split"]) == ("s3://p", "s3://d", "test")


def test_predictions_without_provenance_say_nothing_of_it(dataset_table, image_row):
    names = ("model_id", "preprocessing_id", "run_id")
    rows = pa.table({name: pa.nulls(2, pa.string()) for name in names} | {"scored_at": pa.nulls(2, TIMESTAMP)})
    config = EvaluateClassifierConfig(predictions_uri="s3://p", dataset_uri="s3://d", output_uri="s3://o")
    told = describe(rows, dataset_table([image_row("a", "COVID")]), config)
    assert told["model_id"] == []
    assert "scored_from" not in told
