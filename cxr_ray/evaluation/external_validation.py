"""Set the figures of a model on another dataset beside those of its own test split."""

import json
from collections.abc import Mapping
from typing import Any

from cxr_ray.archive.uris import join_uri, read_bytes
from cxr_ray.errors import DatasetError
from cxr_ray.metrics.intervals import Interval, difference_interval

OVERALL = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "brier", "log_loss")
OF_A_CLASS = ("recall", "specificity", "precision", "npv", "auroc", "auprc")
AGAIN = "evaluate the internal test split again with this version"


def read_internal(uri: str) -> dict[str, Any]:
    """Read the metrics.json of an earlier evaluation.

    Raises:
        DatasetError: if it is not the metrics.json of this version of `evaluate_classifier.py`.
        StorageError: if there is none.
    """
    try:
        internal = json.loads(read_bytes(join_uri(uri, "metrics.json")))
    except ValueError as error:
        raise DatasetError(f"{uri}/metrics.json is no JSON: {error}; {AGAIN}") from error
    wanted = {"intervals", "per_class", "operating_points", "abstention", "provenance"}
    if not isinstance(internal, dict) or (lacking := wanted - internal.keys()):
        missing = ", ".join(sorted(lacking)) if isinstance(internal, dict) else "all of it"
        raise DatasetError(f"{uri}/metrics.json lacks {missing}; {AGAIN}")
    return internal


def side_by_side(internal: Mapping[str, Any], external: Mapping[str, Any], uri: str) -> dict[str, Any]:
    """Compare the figures of two datasets, ready for strict JSON.

    The differences are external minus internal; their intervals take the patients of both as different ones.

    Args:
        internal: metrics of the model on its own test split.
        external: metrics of the same model on the other dataset.
        uri: URI of the internal report, for errors and for `internal_uri`.

    Returns:
        `internal_uri`, `internal_dataset_uri`, `internal_split`, `n_images` of both, and `figures` and `per_class`: for each
        figure `internal`, `external`, both intervals, `difference` and `difference_interval`, None where a figure is missing.

    Raises:
        DatasetError: if the two are of different models.
    """
    ids = [one["provenance"]["model_id"] for one in (internal, external)]
    kinds = [one["provenance"]["preprocessing_id"] for one in (internal, external)]
    if ids[0] != ids[1] or kinds[0] != kinds[1]:
        raise DatasetError(
            f"{uri} is of the model {', '.join(ids[0])} with preprocessing {', '.join(kinds[0])}, and these predictions of"
            f" {', '.join(ids[1])} with {', '.join(kinds[1])}; evaluate predictions of one model"
        )
    return {
        "internal_uri": uri,
        "internal_dataset_uri": internal["provenance"]["dataset_uri"],
        "internal_split": internal["provenance"]["split"],
        "n_images": {"internal": internal["n_scored"], "external": external["n_scored"]},
        "figures": {name: _pair(internal, external, name) for name in OVERALL},
        "per_class": {
            label: {"support": {"internal": one["support"], "external": external["per_class"][label]["support"]}}
            | {name: _pair(one, external["per_class"][label], name) for name in OF_A_CLASS}
            for label, one in internal["per_class"].items()
            if label in external["per_class"]
        },
    }


def _pair(internal: Mapping[str, Any], external: Mapping[str, Any], name: str) -> dict[str, Any]:
    values = [one[name] for one in (internal, external)]
    intervals = [one["intervals"].get(name) for one in (internal, external)]
    found: dict[str, Any] = {
        "internal": values[0],
        "external": values[1],
        "internal_interval": intervals[0],
        "external_interval": intervals[1],
        "difference": None if None in values else values[1] - values[0],
        "difference_interval": None,
    }
    if None not in values and None not in intervals:
        first, second = (Interval(interval[0], interval[1], "") for interval in intervals)
        found["difference_interval"] = list(difference_interval(values[0], first, values[1], second)[:2])
    return found
