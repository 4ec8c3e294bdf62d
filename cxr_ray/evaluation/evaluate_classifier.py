"""Evaluate the predictions of a classifier against a dataset: metrics, figures, a table of rows and an HTML report."""

import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import read_dataset, refuse_duplicates
from cxr_ray.archive.job_outputs import require_other_place
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.same_content import CONTENT, refuse_other_content
from cxr_ray.archive.tables import read_schema, read_table, write_table
from cxr_ray.archive.uris import exists, join_uri, write_bytes
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.figures import THEMES, confusion_matrix_png
from cxr_ray.evaluation.provenance import describe
from cxr_ray.evaluation.report import classifier_report_html
from cxr_ray.evaluation.thumbnails import choose_images, scored_images
from cxr_ray.evaluation.truth_join import (
    PREDICTION_COLUMNS,
    class_names,
    join_truth,
    labelled_images,
)
from cxr_ray.metrics.classification import classification_metrics, report_text
from cxr_ray.schema import PROVENANCE_FIELDS

OPTIONAL_FIELDS = [pa.field(CONTENT, pa.string()), *PROVENANCE_FIELDS]
"""Columns that predictions may lack."""


def evaluate_classifier(config: EvaluateClassifierConfig) -> dict[str, Any]:
    """Evaluate predictions, and write metrics.json, report.txt, report.html, confusion_matrix.png and rows.parquet.

    The files go to the folder `config.output_uri`; the text of report.txt and the URI of report.html are printed.

    Returns:
        The content of metrics.json.

    Raises:
        DatasetError: if a table contains an image twice, a prediction is of another file than the dataset's image, or no
            image of the split was scored.
        ConfigError: if the output is the folder of the predictions.
        StorageError: if a table cannot be read or the output cannot be written.
    """
    require_other_place(config.output_uri, predictions_uri=config.predictions_uri, dataset_uri=config.dataset_uri)
    dataset = read_dataset(config.dataset_uri)
    images = labelled_images(dataset, config.split, config.dataset_uri)
    predictions = read_predictions(config.predictions_uri)
    refuse_other_content(
        images,
        predictions,
        refusal=f"{config.predictions_uri} scored other files than {{}} of the dataset's images",
        fix="score them again into an empty output, or prepare the dataset again",
    )
    names = class_names(predictions, images)
    rows = join_truth(images, predictions, names)
    require_scored(rows, config)

    metrics, report = measure(rows, names)
    metrics["provenance"] = describe(rows, dataset, config)
    strip = scored_images(choose_images(rows, config.strip_images))
    confusion, labels = np.array(metrics["confusion_matrix"]), metrics["labels"]
    figures = {theme: confusion_matrix_png(confusion, labels, palette) for theme, palette in THEMES.items()}
    files = {
        "metrics.json": (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode(),
        "report.txt": report.encode(),
        "report.html": classifier_report_html(metrics, figures, strip).encode(),
        "confusion_matrix.png": figures["light"],
    }
    for name, content in files.items():
        write_bytes(join_uri(config.output_uri, name), content)
    write_table(rows, join_uri(config.output_uri, "rows.parquet"))
    write_run_record(config.output_uri, config, accuracy=metrics["accuracy"])
    print(f"{report}\n{join_uri(config.output_uri, 'report.html')}")
    return metrics


def read_predictions(uri: str) -> pa.Table:
    """Read the predictions in the folder at `uri`, or in its subfolder `predictions` if that exists.

    Returns:
        `PREDICTION_COLUMNS`, `CONTENT` and every `prob_*` column; a column of `OPTIONAL_FIELDS` that the files lack is null.

    Raises:
        DatasetError: if an image has more than one prediction.
        StorageError: if no table exists, or the table lacks a column.
    """
    inner = join_uri(uri, "predictions")
    folder = inner if exists(inner) else uri
    present = read_schema(folder).names
    lacking = [field for field in OPTIONAL_FIELDS if field.name not in present]
    columns = [name for name in (*PREDICTION_COLUMNS, CONTENT) if name not in {field.name for field in lacking}]
    predictions = read_table(folder, [*columns, *(name for name in present if name.startswith("prob_"))])
    for field in lacking:  # predictions of other tools may lack content or provenance
        predictions = predictions.append_column(field.name, pa.nulls(predictions.num_rows, field.type))
    refuse_duplicates(predictions, folder, "score again into an empty output or with --overwrite")
    return predictions


def require_scored(rows: pa.Table, config: EvaluateClassifierConfig) -> None:
    """Raise a DatasetError that names the predictions and the dataset unless at least one image was scored."""
    if pc.any(pc.equal(rows["status"], "ok")).as_py():
        return
    images = f"the {rows.num_rows:,} images of split {config.split!r} of {config.dataset_uri}"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in count_errors(rows).items())
    if kinds:
        raise DatasetError(f"{config.predictions_uri} scored none of {images}; fix the errors: {kinds}")
    raise DatasetError(
        f"{config.predictions_uri} holds no prediction for {images}; run classify_archive.py on the archive of the dataset"
    )


def measure(rows: pa.Table, names: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Compute the metrics of the rows from `join_truth`, and scikit-learn's report as text.

    Every metric excludes failed and missing images, except `accuracy_failures_as_wrong`, which counts failed images as
    wrong.

    Args:
        rows: rows from `join_truth`, at least one of them with status `ok`.
        names: label of each probability column, from `class_names`.

    Returns:
        The metrics, ready for strict JSON, and the text of report.txt.
    """
    scored = rows.filter(pc.equal(rows["status"], "ok"))
    labels = list(names.values())
    truth, predicted = (
        pc.index_in(scored[column], value_set=pa.array(labels)).to_numpy().astype(np.int64)
        for column in ("label", "predicted")
    )
    probabilities = np.full((scored.num_rows, len(names)), np.nan)
    for k, column in enumerate(names):
        if column in scored.column_names:
            probabilities[:, k] = scored[column].to_numpy()
    errors = count_errors(rows)
    tried = scored.num_rows + sum(errors.values())
    metrics = {
        "n_images": rows.num_rows,
        "n_scored": scored.num_rows,
        "n_errors": tried - scored.num_rows,
        "n_missing": rows.num_rows - tried,
        "errors_by_kind": errors,
        "accuracy_failures_as_wrong": int((truth == predicted).sum()) / tried,
    }
    metrics |= classification_metrics(truth, predicted, probabilities, labels)
    return metrics, report_text(truth, predicted, labels)


def count_errors(rows: pa.Table) -> dict[str, int]:
    """Count the rows with status `error` by kind of error, the most frequent kind first."""
    kinds = rows.filter(pc.equal(rows["status"], "error"))["error_kind"].value_counts().to_pylist()
    ordered = sorted(kinds, key=lambda kind: (-kind["counts"], kind["values"] or ""))
    return {kind["values"] or "unknown": kind["counts"] for kind in ordered}
