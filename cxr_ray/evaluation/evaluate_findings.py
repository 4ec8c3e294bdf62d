"""Evaluate the predictions of several findings of each image: every finding on its own, over the images of which it is known."""

import functools
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxr_ray.archive.datasets import finding_labels, finding_values, read_findings, refuse_duplicates
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.same_content import refuse_other_content
from cxr_ray.archive.tables import read_schema, read_table, write_table
from cxr_ray.archive.uris import join_uri, write_bytes
from cxr_ray.config.checks import require_default
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.figures import THEMES
from cxr_ray.evaluation.finding_figures import finding_areas_png
from cxr_ray.evaluation.predictions import OPTIONAL_FIELDS, predictions_folder, read_columns
from cxr_ray.evaluation.provenance import describe
from cxr_ray.evaluation.report import findings_report_html
from cxr_ray.evaluation.scored_arrays import PATIENT, with_patients
from cxr_ray.evaluation.scored_counts import count_errors, require_scored
from cxr_ray.evaluation.thresholds import IN_SAMPLE, NO_VAL
from cxr_ray.evaluation.truth_join import MISSING
from cxr_ray.metrics.findings import finding_metrics, findings_text
from cxr_ray.metrics.operating_points import choose_thresholds, figures_at
from cxr_ray.schema import (
    ABSENT,
    FINDING_PREFIX,
    PRESENT,
    PROVENANCE_FIELDS,
    UNCERTAIN,
    finding_column,
    finding_columns,
    probability_column,
)

TRUTH_PREFIX = "truth_"
"""Prefix of the columns of rows.parquet that hold the true findings."""
ONLY_FOR_CLASSES = (
    *("prevalence", "subgroups", "metadata_uri", "compare_uris", "label_map", "internal_uri", "model_uri"),
    *("abstain_below", "target_accuracy", "strip_images", "exclude_flags", "audit_uri"),
)
"""Options that have no meaning for findings yet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredFindings:
    """N scored images with K findings."""

    truth: NDArray[np.float64]
    """Float64 [N, K]: 1 present, 0 absent, NaN not known or uncertain."""
    called: NDArray[np.bool_]
    """Bool [N, K], which findings the model calls present."""
    probabilities: NDArray[np.float64]
    """Float64 [N, K]."""
    groups: NDArray[np.int64]
    """Number of the patient of each image, int64 [N]."""


def evaluate_findings(config: EvaluateClassifierConfig) -> dict[str, Any]:
    """Evaluate predictions of findings, and write metrics.json, report.txt, report.html, a figure and rows.parquet.

    Uncertain and missing labels do not count. Returns the content of metrics.json.

    Raises:
        DatasetError: if a table contains an image twice, a prediction is of another file than the dataset's image, no image
            of the split was scored, or the dataset has none of the model's findings.
        ConfigError: if an option is only for classes.
        StorageError: if a table cannot be read or the output cannot be written.
    """
    require_default(config, *ONLY_FOR_CLASSES, needs="predictions of classes, and these are of findings")
    dataset = read_findings(config.dataset_uri)
    refuse_duplicates(dataset, config.dataset_uri, "prepare the dataset again")
    predictions = read_finding_predictions(config.predictions_uri)
    labels, unused = common_findings(dataset, predictions)
    rows, unknown_patients = joined_findings(dataset, predictions, labels, config, config.split)
    require_scored(rows, config)
    scored = scored_findings(rows, labels)
    values = finding_values(rows, labels, TRUTH_PREFIX)
    errors = count_errors(rows)
    tried = len(scored.truth) + sum(errors.values())
    metrics: dict[str, Any] = {
        "task": "multilabel",
        "n_images": rows.num_rows,
        "n_scored": len(scored.truth),
        "n_errors": tried - len(scored.truth),
        "n_missing": rows.num_rows - tried,
        "errors_by_kind": errors,
        "n_without_patient": unknown_patients,
    } | finding_metrics(
        scored.truth, scored.called, scored.probabilities, labels, scored.groups,
        resamples=config.bootstrap_draws, seed=config.seed,
    )  # fmt: skip
    for k, label in enumerate(labels):
        metrics["per_class"][label]["n_uncertain"] = int((values[:, k] == UNCERTAIN).sum())
    metrics |= unused
    metrics["operating_points"] = finding_operating_points(dataset, predictions, labels, scored, config)
    metrics["provenance"] = describe(rows, dataset, config)
    _write(config, rows, metrics)
    return metrics


def read_finding_predictions(uri: str) -> pa.Table:
    """Read the predictions of findings in the folder at `uri`, or in its subfolder `predictions`.

    Returns:
        `image_id, status, error_kind`, `CONTENT` and the provenance (null where the files lack them), and of each finding its
        probability and label.

    Raises:
        DatasetError: if an image has more than one prediction.
        StorageError: if a column of a finding lacks its probability.
    """
    folder = predictions_folder(uri)
    present = read_schema(folder).names
    calls = finding_columns(present)
    probabilities = [probability_column(column.removeprefix(FINDING_PREFIX)) for column in calls]
    optional = [field.name for field in OPTIONAL_FIELDS if field.name in present]
    predictions = read_table(folder, ["image_id", "status", "error_kind", *optional, *probabilities, *calls])
    for field in OPTIONAL_FIELDS:
        if field.name not in present:
            predictions = predictions.append_column(field.name, pa.nulls(predictions.num_rows, field.type))
    refuse_duplicates(predictions, folder, "score again into an empty output or with --overwrite")
    return predictions


def common_findings(dataset: pa.Table, predictions: pa.Table) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """Findings that both tables have, in the order of the model's outputs, and those that only one of them has.

    Raises:
        DatasetError: if they have none in common.
    """
    true, predicted = finding_labels(dataset), finding_labels(predictions)
    common = tuple(label for label in predicted if label in true)
    if not common:
        raise DatasetError(
            f"the dataset has the findings {', '.join(true)}, and the model predicts {', '.join(predicted)}; none is common, so name"
            " them alike in the tables of --labels-uri"
        )
    return common, {
        "findings_without_truth": [label for label in predicted if label not in common],
        "findings_without_prediction": [label for label in true if label not in common],
    }


def joined_findings(
    dataset: pa.Table, predictions: pa.Table, labels: tuple[str, ...], config: EvaluateClassifierConfig, split: str
) -> tuple[pa.Table, int]:
    """Join the images of a split with their predictions, sorted by image_id, and count those without a known patient.

    Returns:
        `image_id, uri, truth_FINDING, prob_FINDING, label_FINDING, status, error_kind`, provenance and `PATIENT`.

    Raises:
        DatasetError: if the split has no image, predictions are of other files, or a row with status ok lacks a number.
    """
    images = dataset if split == "all" else dataset.filter(pc.equal(dataset["split"], split))
    if not images.num_rows:
        raise DatasetError(f"{config.dataset_uri} has no image in split {split!r}; choose another --split")
    refuse_other_content(
        images,
        predictions,
        refusal=f"{config.predictions_uri} scored other files than {{}} of the dataset's images",
        fix="score them again into an empty output, or prepare the dataset again",
    )
    calls = [finding_column(label) for label in labels]
    truth = images.select(["image_id", "uri", *calls])
    truth = truth.rename_columns(["image_id", "uri", *(TRUTH_PREFIX + label for label in labels)])
    columns = [*map(probability_column, labels), *calls]
    ids = [field.name for field in PROVENANCE_FIELDS]
    scored = predictions.select(["image_id", *columns, "status", "error_kind", *ids])
    rows = truth.join(scored, keys="image_id", join_type="left outer").sort_by("image_id")
    place = rows.column_names.index("status")
    rows = rows.set_column(place, "status", pc.fill_null(rows["status"], MISSING))
    _refuse_incomplete(rows, columns)
    keys = read_columns(predictions_folder(config.predictions_uri), ["patient_key"])
    return with_patients(rows, images, keys)


def _refuse_incomplete(rows: pa.Table, columns: list[str]) -> None:
    finite = [pc.fill_null(pc.is_finite(rows[name].cast(pa.float64())), False) for name in columns]
    complete = functools.reduce(pc.and_, finite)
    broken = rows.filter(pc.and_(pc.equal(rows["status"], "ok"), pc.invert(complete)))
    if broken.num_rows:
        raise DatasetError(
            f"{broken.num_rows} predictions have status ok but lack a label or a finite probability,"
            f" first {broken['image_id'][0].as_py()!r}; score these images again"
        )


def scored_findings(rows: pa.Table, labels: tuple[str, ...]) -> ScoredFindings:
    """Collect the arrays of the rows of `joined_findings` with status `ok`."""
    scored = rows.filter(pc.equal(rows["status"], "ok"))
    values = finding_values(scored, labels, TRUTH_PREFIX).astype(np.float64)
    probabilities = [scored[probability_column(label)].to_numpy().astype(np.float64) for label in labels]
    return ScoredFindings(
        truth=np.where(np.isin(values, (PRESENT, ABSENT)), values, np.nan),
        called=np.stack([scored[finding_column(label)].to_numpy() == PRESENT for label in labels], axis=1),
        probabilities=np.stack(probabilities, axis=1),
        groups=scored[PATIENT].to_numpy().astype(np.int64),
    )


def finding_operating_points(
    dataset: pa.Table,
    predictions: pa.Table,
    labels: tuple[str, ...],
    scored: ScoredFindings,
    config: EvaluateClassifierConfig,
) -> dict[str, Any]:
    """Apply thresholds of each finding, chosen on the val split, to the evaluated images.

    Returns:
        As `thresholds.operating_points`.
    """
    targets = {"sensitivity": config.target_sensitivity, "specificity": config.target_specificity}
    result: dict[str, Any] = {"chosen_on": "val", "targets": targets, "missing": None, "classes": {}}
    if config.split in ("val", "all"):
        return result | {"missing": IN_SAMPLE}
    if not pc.any(pc.equal(dataset["split"], "val")).as_py():
        return result | {"missing": NO_VAL}
    val = scored_findings(joined_findings(dataset, predictions, labels, config, "val")[0], labels)
    if not len(val.truth):
        return result | {"missing": NO_VAL}
    for k, label in enumerate(labels):
        known, here = ~np.isnan(val.truth[:, k]), ~np.isnan(scored.truth[:, k])
        positive = val.truth[known, k] == 1
        if positive.any() and not positive.all():
            chosen = choose_thresholds(positive, val.probabilities[known, k], **targets)
            of_finding = scored.truth[here, k] == 1, scored.probabilities[here, k], scored.groups[here]
            result["classes"][label] = {
                rule: {"chosen": one} | figures_at(one["threshold"], *of_finding) for rule, one in chosen.items()
            }
    return result


def _write(config: EvaluateClassifierConfig, rows: pa.Table, metrics: dict[str, Any]) -> None:
    """Write metrics.json, report.txt, report.html, the figure and rows.parquet, and print the report and its URI."""
    report = findings_text(metrics)
    drawn = {theme: finding_areas_png(metrics["per_class"], palette) for theme, palette in THEMES.items()}
    files = {
        "metrics.json": (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode(),
        "report.txt": report.encode(),
        "report.html": findings_report_html(metrics, drawn).encode(),
        "areas.png": drawn["light"],
    }
    for name, content in files.items():
        write_bytes(join_uri(config.output_uri, name), content)
    write_table(rows, join_uri(config.output_uri, "rows.parquet"))
    write_run_record(config.output_uri, config, macro_auroc=metrics["macro_auroc"])
    print(f"{report}\n{join_uri(config.output_uri, 'report.html')}")
