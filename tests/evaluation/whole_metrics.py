"""The content of metrics.json of four images, without the sections in words."""

from typing import Any

import numpy as np

from cxr_ray.metrics.classification import classification_metrics

PROVENANCE = {
    "model_id": ["resnet50-0123456789ab"],
    "preprocessing_id": ["fedcba987654"],
    "run_id": ["run-1", "run-2"],
    "scored_from": "2025-03-01 02:30:00 UTC",
    "scored_until": "2025-03-01 03:30:00 UTC",
    "predictions_uri": "s3://out/scored",
    "dataset_uri": "s3://out/dataset.parquet",
    "dataset_fingerprint": "00112233aabb",
    "split": "test",
    "evaluated_at": "2025-03-02 00:00:00 UTC",
    "code_version": "0.1.0",
}


SPLITS = {"images": {"train": 10, "test": 5}, "patients_shared": 1, "copies_shared": 0, "without_patient": 3}


def full_metrics() -> dict[str, Any]:
    """Content of metrics.json of four images."""
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    figures = classification_metrics(truth, predicted, np.eye(3)[predicted], ("Normal", "Lung_Opacity", "COVID"))
    counts = {
        "n_images": 1234,
        "n_scored": 4,
        "n_errors": 2,
        "n_missing": 7,
        "errors_by_kind": {"too_large": 2},
    }
    sections = {
        "n_without_patient": 0,
        "n_left_out_by_label_map": {},
        "excluded_by_flag": {},
        "n_excluded_by_flag": 0,
        "val": None,
        "at_prevalence": {},
        "calibration": {
            "n_images": 4,
            "temperature": None,
            **dict.fromkeys(("scored", "before_temperature", "refitted")),
            **{f"{name}_missing": "it was not asked for" for name in ("scored", "before_temperature", "refitted")},
        },
        "operating_points": {"missing": "there is no val image", "classes": {}},
        "abstention": {"missing": "there is no val image", "threshold": None},
        "comparison": None,
        "subgroups": {},
        "external": None,
    }
    sections |= {"audit": None, "splits": SPLITS}
    return figures | counts | sections | {"accuracy_failures_as_wrong": 0.5, "provenance": PROVENANCE}
