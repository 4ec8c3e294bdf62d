from datetime import UTC, datetime

import pyarrow as pa

from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.evaluation.provenance import describe, fingerprint
from cxr_ray.schema import TIMESTAMP


def test_fingerprint_depends_on_images_and_truth_only():
    rows = pa.table({"image_id": ["a", "b"], "label": ["COVID", "Normal"]})

    assert fingerprint(rows) == fingerprint(rows.sort_by([("image_id", "descending")]))
    assert fingerprint(rows) != fingerprint(pa.table({"image_id": ["a", "b"], "label": ["COVID", "COVID"]}))
    assert fingerprint(rows) != fingerprint(rows.slice(1))


def test_runs_and_times_of_all_rows_are_told():
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

    told = describe(rows, config)

    assert told["model_id"] == ["m"]
    assert told["run_id"] == ["first", "second"]
    assert told["scored_from"] == "2025-03-01 02:30:15 UTC"
    assert told["scored_until"] == "2025-03-01 04:00:00 UTC"
    assert (told["predictions_uri"], told["dataset_uri"], told["split"]) == ("s3://p", "s3://d", "test")
