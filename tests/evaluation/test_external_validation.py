import json

import numpy as np
import pytest

from cxr_ray.errors import DatasetError, StorageError
from cxr_ray.evaluation.external_validation import read_internal, side_by_side
from cxr_ray.metrics.classification import classification_metrics

LABELS = ("a", "b")


def metrics_of(right: int, of: int, model_id: str = "m") -> dict:
    truth = np.arange(of) % 2
    predicted = np.where(np.arange(of) < right, truth, 1 - truth)
    found = classification_metrics(truth, predicted, np.eye(2)[predicted] * 0.6 + 0.2, LABELS, resamples=20)
    provenance = {"model_id": [model_id], "preprocessing_id": ["p"], "dataset_uri": "d", "split": "test"}
    return found | {"n_scored": of, "provenance": provenance, "operating_points": {}, "abstention": {}}


def test_figures_stand_side_by_side_with_their_difference():
    found = side_by_side(metrics_of(90, 100), metrics_of(120, 200), "internal")

    accuracy = found["figures"]["accuracy"]
    assert (accuracy["internal"], accuracy["external"]) == (0.9, 0.6)
    assert accuracy["difference"] == pytest.approx(-0.3)
    low, high = accuracy["difference_interval"]
    assert (low, high) == pytest.approx((-0.386, -0.194), abs=0.01)
    assert found["n_images"] == {"internal": 100, "external": 200}
    assert found["per_class"]["a"]["recall"]["internal"] == pytest.approx(0.9)
    assert found["per_class"]["a"]["support"] == {"internal": 50, "external": 100}


def test_a_class_that_the_other_dataset_lacks_has_no_difference():
    external = metrics_of(90, 100)
    external["per_class"]["a"] |= {
        "recall": None,
        "intervals": external["per_class"]["a"]["intervals"] | {"recall": None},
    }

    pair = side_by_side(metrics_of(90, 100), external, "internal")["per_class"]["a"]["recall"]
    assert (pair["external"], pair["difference"], pair["difference_interval"]) == (None, None, None)


def test_another_model_is_refused():
    with pytest.raises(
        DatasetError, match="internal is of the model other with preprocessing p, and these predictions of m"
    ):
        side_by_side(metrics_of(90, 100, "other"), metrics_of(90, 100), "internal")


def test_a_report_is_read_and_another_file_is_refused(tmp_path):
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps(metrics_of(9, 10)))
    assert read_internal(str(tmp_path))["accuracy"] == 0.9

    path.write_text('{"accuracy": 1}')
    with pytest.raises(
        DatasetError, match="lacks abstention, intervals, operating_points, per_class, provenance; evaluate"
    ):
        read_internal(str(tmp_path))
    path.write_text("[1")
    with pytest.raises(DatasetError, match="is no JSON"):
        read_internal(str(tmp_path))
    path.unlink()
    with pytest.raises(StorageError):
        read_internal(str(tmp_path))
