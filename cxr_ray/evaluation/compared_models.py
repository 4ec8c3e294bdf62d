"""Compare the predictions of several models for the same images, and the mean of all of them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxr_ray.archive.same_content import refuse_other_content
from cxr_ray.archive.tables import read_schema
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.predictions import predictions_folder, read_columns, read_predictions
from cxr_ray.evaluation.scored_arrays import PATIENT
from cxr_ray.evaluation.truth_join import join_truth
from cxr_ray.metrics.calibration import expected_calibration_error
from cxr_ray.metrics.classification import classification_metrics
from cxr_ray.metrics.model_comparison import compare_models
from cxr_ray.schema import probability_column

ENSEMBLE = "mean of all models"
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc", "brier", "log_loss")
Floats = NDArray[np.float64]


@dataclass(kw_only=True, slots=True)
class ComparedModels:
    """Probabilities of several models for images that all of them scored."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    """Rows of each model with `image_id`, `label` and the probability columns of the first model, by the model's name."""
    means: set[str] = field(default_factory=set)
    """Names of those that are themselves the mean of other models here, and so do not count in the mean of all."""

    has_others: bool = False
    """Whether there are predictions beside those of the first output; their mean is then a model of its own."""

    def add(self, name: str, table: pa.Table, *, is_mean: bool = False) -> None:
        """Add a model; a name that is taken gets a number."""
        unique, number = name, 2
        while unique in self.tables:
            unique, number = f"{name} ({number})", number + 1
        self.tables[unique] = table
        if is_mean:
            self.means.add(unique)


def comparison(
    rows: pa.Table, images: pa.Table, names: dict[str, str], config: EvaluateClassifierConfig
) -> dict[str, Any] | None:
    """Compare the model with those of `config.compare_uris`, and with its members if it is the mean of several models.

    Args:
        rows: rows from `join_truth` with the number of the patient.
        images: the labelled images of the split.
        names: label of each probability column, from `class_names`.
        config: config of the evaluation.

    Returns:
        What `compare_tables` returns; None if there is nothing to compare.

    Raises:
        DatasetError: if a model has other classes, scored other files, or no image was scored by all models.
    """
    columns = sorted(name for name in names if name in rows.column_names)
    folder = predictions_folder(config.predictions_uri)
    members = members_of(read_schema(folder).names, columns)
    if not config.compare_uris and not members:
        return None
    models = ComparedModels(has_others=bool(config.compare_uris))
    models.add(_name_of(rows, config.predictions_uri), truth_and_probabilities(rows, columns), is_mean=bool(members))
    scored = rows.filter(pc.equal(rows["status"], "ok")).select(["image_id", "label"])
    for prefix, of_member in members.items():
        probabilities = read_columns(folder, of_member).rename_columns(["image_id", *columns])
        models.add(prefix, scored.join(probabilities, keys="image_id", join_type="inner"))
    first = read_predictions(config.predictions_uri)
    for uri in config.compare_uris:
        predictions = read_predictions(uri)
        models.add(_name_of(predictions, uri), other_model(uri, predictions, first, images, names))
    drawing = {"resamples": config.bootstrap_draws, "seed": config.seed}
    return compare_tables(models, rows.select(["image_id", PATIENT]), **drawing)


def _name_of(rows: pa.Table, uri: str) -> str:
    ids = sorted(filter(None, pc.unique(rows["model_id"]).to_pylist()))
    return ", ".join(ids) or uri


def members_of(present: list[str], columns: list[str]) -> dict[str, list[str]]:
    """Find the models of predictions that several models made together: the probability columns of each by its prefix.

    Args:
        present: names of all columns.
        columns: the probability columns without a prefix.
    """
    ends = {f"_{column}" for column in columns[:1]}
    prefixes = [name[: -len(end)] for name in present for end in ends if name.endswith(end)]
    found = {prefix: [f"{prefix}_{column}" for column in columns] for prefix in prefixes}
    return {prefix: names for prefix, names in found.items() if set(names) <= set(present)}


def truth_and_probabilities(rows: pa.Table, columns: list[str]) -> pa.Table:
    """Keep the scored rows of `join_truth`, with the label and the probabilities."""
    scored = rows.filter(pc.equal(rows["status"], "ok"))
    return scored.select(["image_id", "label", *columns])


def other_model(
    uri: str, predictions: pa.Table, first: pa.Table, images: pa.Table, names: Mapping[str, str]
) -> pa.Table:
    """Join the predictions of another model with the same images.

    Raises:
        DatasetError: if the model has other classes than the first one, scored other files, or none of the images.
    """
    columns = {name for name in names if name in first.column_names}
    others = {name for name in predictions.column_names if name.startswith("prob_")}
    if columns != others:
        raise DatasetError(
            f"{uri} has the classes {_classes(others)}, and the first model {_classes(columns)};"
            " compare models of the same classes"
        )
    refuse_other_content(
        first,
        predictions,
        refusal=f"{uri} scored other files than {{}} of the images of the first model",
        fix="score the same archive with every model",
    )
    return truth_and_probabilities(join_truth(images, predictions, dict(names)), sorted(columns))


def compare_tables(models: ComparedModels, patients: pa.Table, *, resamples: int, seed: int) -> dict[str, Any]:
    """Compare models over the images that all of them scored, ready for strict JSON.

    Args:
        models: at least two models, the first of which the others are compared with.
        patients: a table of `image_id` and `patient`.
        resamples: number of bootstrap resamples of patients.
        seed: seed of the bootstrap.

    Returns:
        `n_images`; `n_left_out`, the images that only some models scored; and `models`, for each model and `ENSEMBLE` the
        figures of `FIGURES` and `ece` with `intervals`, and `versus_first`, what `compare_models` returns (None for the first).

    Raises:
        DatasetError: if no image was scored by all models.
    """
    ids = [set(table["image_id"].to_pylist()) for table in models.tables.values()]
    common, either = set.intersection(*ids), set.union(*ids)
    if not common:
        raise DatasetError(f"no image was scored by each of {', '.join(models.tables)}; score the same images with all")
    kept = {name: _sorted(table, common) for name, table in models.tables.items()}
    groups = _sorted(patients, common)[PATIENT].to_numpy().astype(np.int64)
    truth, probabilities = _arrays(kept)
    leaves = [probs for name, probs in probabilities.items() if name not in models.means]
    if not models.means or models.has_others:
        probabilities[ENSEMBLE] = np.mean(leaves, axis=0)
    return {
        "n_images": len(common),
        "n_left_out": len(either) - len(common),
        "models": _figures(truth, probabilities, groups, resamples=resamples, seed=seed),
    }


def _arrays(kept: Mapping[str, pa.Table]) -> tuple[NDArray[np.int64], dict[str, Floats]]:
    """Indices of the true classes, int64 [N], and the probabilities of each model, float64 [N, K]."""
    first = next(iter(kept.values()))
    columns = sorted(first.column_names[2:])
    labels = first["label"].to_pylist()
    if unknown := sorted({label for label in labels if probability_column(label) not in columns}):
        raise DatasetError(
            f"the models to compare do not know the label {unknown[0]!r}; map it to a class with label_map, or leave it out"
        )
    truth = np.array([columns.index(probability_column(label)) for label in labels], dtype=np.int64)
    return truth, {
        name: np.column_stack([table[column].to_numpy().astype(np.float64) for column in columns])
        for name, table in kept.items()
    }


def _figures(
    truth: NDArray[np.int64], models: Mapping[str, Floats], groups: NDArray[np.int64], *, resamples: int, seed: int
) -> dict[str, Any]:
    drawing = {"resamples": resamples, "seed": seed}
    versus = compare_models(truth, models, groups, **drawing)
    found: dict[str, Any] = {}
    for name, probabilities in models.items():
        classes = [str(k) for k in range(probabilities.shape[1])]
        metrics = classification_metrics(truth, probabilities.argmax(1), probabilities, classes, groups, **drawing)
        found[name] = {
            **{figure: metrics[figure] for figure in FIGURES},
            "ece": expected_calibration_error(truth, probabilities),
            "intervals": {figure: metrics["intervals"][figure] for figure in FIGURES},
            "versus_first": versus.get(name),
        }
    return found


def _sorted(table: pa.Table, common: set[str]) -> pa.Table:
    chosen = table.filter(pc.is_in(table["image_id"], value_set=pa.array(sorted(common))))
    return chosen.sort_by("image_id")


def _classes(columns: set[str]) -> str:
    return ", ".join(sorted(column.removeprefix("prob_") for column in columns)) or "none"
