"""Evaluate the predictions of a classifier against a dataset: metrics, figures, a table of rows and an HTML report."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import read_dataset
from cxr_ray.archive.job_outputs import require_other_place
from cxr_ray.archive.same_content import refuse_other_content
from cxr_ray.archive.tables import read_schema
from cxr_ray.config.checks import require
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.evaluation.audit_verdicts import read_audit
from cxr_ray.evaluation.classifier_output import write_evaluation
from cxr_ray.evaluation.compared_models import comparison
from cxr_ray.evaluation.evaluate_findings import evaluate_findings
from cxr_ray.evaluation.external_validation import read_internal, side_by_side
from cxr_ray.evaluation.flagged_images import without_flagged
from cxr_ray.evaluation.label_map import map_labels
from cxr_ray.evaluation.model_card import model_card
from cxr_ray.evaluation.model_facts import collect_facts
from cxr_ray.evaluation.plain_words import in_short, limits_of
from cxr_ray.evaluation.predictions import predictions_folder, read_columns, read_predictions
from cxr_ray.evaluation.provenance import describe
from cxr_ray.evaluation.scored_arrays import Scored, scored_arrays, with_patients
from cxr_ray.evaluation.scored_counts import count_errors, require_scored
from cxr_ray.evaluation.split_facts import split_facts
from cxr_ray.evaluation.subgroups import subgroups
from cxr_ray.evaluation.thresholds import abstention, at_prevalences, calibration, compare_with_val, operating_points
from cxr_ray.evaluation.truth_join import class_names, join_truth, labelled_images
from cxr_ray.metrics.classification import classification_metrics, report_text
from cxr_ray.schema import finding_columns, probability_column

MISTAKES = 50
"""Most confident mistakes that metrics.json names."""


def evaluate_classifier(config: EvaluateClassifierConfig) -> dict[str, Any]:
    """Evaluate predictions, and write metrics.json, report.txt, report.html, figures and rows.parquet.

    The files go to the folder `config.output_uri`; the text of report.txt and the URI of report.html are printed. Predictions of
    findings (columns such as `label_edema`) are evaluated by `evaluate_findings`.

    Returns:
        The content of metrics.json.

    Raises:
        DatasetError: if a table contains an image twice, a prediction is of another file than the dataset's image, no image
            of the split was scored, a label is not understood, or models or reports do not belong together.
        ConfigError: if the output is the folder of an input, a prevalence is of no class, or an option is not for findings.
        BundleError: if `config.model_uri` is not the bundle of the predictions.
        StorageError: if a table cannot be read or the output cannot be written.
    """
    require_other_place(config.output_uri, **_inputs(config))
    if finding_columns(read_schema(predictions_folder(config.predictions_uri)).names):
        return evaluate_findings(config)
    internal = read_internal(config.internal_uri) if config.internal_uri else None
    dataset = read_dataset(config.dataset_uri)
    predictions = read_predictions(config.predictions_uri)
    folder = predictions_folder(config.predictions_uri)
    usable = without_flagged(dataset, folder, config.exclude_flags, split=config.split)
    images, left_out = chosen_images(usable.images, predictions, config)
    names = class_names(predictions, images)
    require_known_prevalences(config, list(names.values()))
    rows, unknown_patients = joined_rows(images, predictions, names, config)
    require_scored(rows, config)
    scored = scored_arrays(rows, names)
    provenance = describe(rows, dataset, config)
    models = [*provenance["model_id"]]
    audit = read_audit(config.audit_uri, models) if config.audit_uri else None

    metrics, report = measure(rows, scored, config)
    metrics |= {"n_without_patient": unknown_patients, "n_left_out_by_label_map": left_out}
    metrics |= {"provenance": provenance, "audit": audit, "splits": split_facts(dataset)}
    val = scored_val(usable.images, predictions, names, config)
    metrics |= {"excluded_by_flag": usable.excluded, "n_excluded_by_flag": usable.n_excluded}
    metrics["val"] = compare_with_val(scored, val, config)
    metrics["at_prevalence"] = at_prevalences(scored, config)
    metrics["calibration"] = calibration(scored, val, config, models)
    metrics["operating_points"] = operating_points(scored, val, config, internal)
    metrics["abstention"] = abstention(scored, val, config, internal)
    metrics["subgroups"] = subgroups(rows, scored, config)
    metrics["comparison"] = comparison(rows, images, names, config)
    metrics["external"] = side_by_side(internal, metrics, config.internal_uri or "") if internal else None
    metrics["confident_mistakes"] = confident_mistakes(rows)
    metrics |= {"in_short": in_short(metrics), "limits": limits_of(metrics)}
    metrics["model_card"] = model_card(metrics, collect_facts(config, models))
    write_evaluation(config, rows, metrics, report)
    return metrics


def _inputs(config: EvaluateClassifierConfig) -> dict[str, str]:
    """The URIs that the job reads, by the name of their option."""
    named = {
        name: getattr(config, name)
        for name in ("predictions_uri", "dataset_uri", "internal_uri", "metadata_uri", "audit_uri")
    }
    others = {f"compare_uris {uri}": uri for uri in config.compare_uris}
    return {name: uri for name, uri in (named | others).items() if uri}


def chosen_images(
    dataset: pa.Table, predictions: pa.Table, config: EvaluateClassifierConfig
) -> tuple[pa.Table, dict[str, int]]:
    """Select the labelled images of the split, with the model's labels, and count those that the label map leaves out.

    Raises:
        DatasetError: if predictions are of other files, or a label is not understood (see `map_labels`).
    """
    images = labelled_images(dataset, config.split, config.dataset_uri)
    left_out: dict[str, int] = {}
    if config.label_map:
        known = {name for name in predictions.column_names if name.startswith("prob_")}
        images, left_out = map_labels(images, config.labels_mapped(), known, dataset, config.dataset_uri)
    refuse_other_content(
        images,
        predictions,
        refusal=f"{config.predictions_uri} scored other files than {{}} of the dataset's images",
        fix="score them again into an empty output, or prepare the dataset again",
    )
    return images, left_out


def require_known_prevalences(config: EvaluateClassifierConfig, labels: list[str]) -> None:
    """Raise a ConfigError unless every prevalence is of a class."""
    for label in config.prevalences():
        if label is not None:
            require(label in labels, "prevalence", label, f"of one of the classes {', '.join(labels)}")


def joined_rows(
    images: pa.Table, predictions: pa.Table, names: dict[str, str], config: EvaluateClassifierConfig
) -> tuple[pa.Table, int]:
    """Join images and predictions, add the number of each image's patient, and count images without a known patient."""
    keys = read_columns(predictions_folder(config.predictions_uri), ["patient_key"])
    return with_patients(join_truth(images, predictions, names), images, keys)


def scored_val(
    dataset: pa.Table, predictions: pa.Table, names: dict[str, str], config: EvaluateClassifierConfig
) -> Scored | None:
    """Collect the scored images of the val split, on which thresholds are chosen; None if there is none.

    Images of classes that `names` lacks do not count, nor do all images of another dataset than the model's.
    """
    if config.internal_uri or config.label_map:
        return None
    images = dataset.filter(pc.and_(pc.equal(dataset["split"], "val"), pc.is_valid(dataset["label"])))
    known = [label for label in pc.unique(images["label"]).to_pylist() if probability_column(label) in names]
    images = images.filter(pc.is_in(images["label"], value_set=pa.array(known, pa.string())))
    if not images.num_rows:
        return None
    scored = scored_arrays(joined_rows(images, predictions, names, config)[0], names)
    return scored if len(scored) else None


def confident_mistakes(rows: pa.Table) -> list[dict[str, Any]]:
    """List the most confident mistakes, at most `MISTAKES`, the most confident first."""
    wrong = rows.filter(pc.and_(pc.equal(rows["status"], "ok"), pc.invert(pc.fill_null(rows["correct"], True))))
    ordered = wrong.sort_by([("confidence", "descending"), ("image_id", "ascending")]).slice(0, MISTAKES)
    return [dict(row) for row in ordered.select(["image_id", "label", "predicted", "confidence"]).to_pylist()]


def measure(rows: pa.Table, scored: Scored, config: EvaluateClassifierConfig) -> tuple[dict[str, Any], str]:
    """Compute the metrics of the rows from `join_truth`, and scikit-learn's report as text.

    Every metric excludes failed and missing images, except `accuracy_failures_as_wrong`, which counts failed images as
    wrong.

    Args:
        rows: rows from `join_truth`, at least one of them with status `ok`.
        scored: the rows with status `ok`.
        config: resamples and seed of the bootstrap.

    Returns:
        The metrics, ready for strict JSON, and the text of report.txt.
    """
    errors = count_errors(rows)
    tried = len(scored) + sum(errors.values())
    metrics = {
        "n_images": rows.num_rows,
        "n_scored": len(scored),
        "n_errors": tried - len(scored),
        "n_missing": rows.num_rows - tried,
        "errors_by_kind": errors,
        "accuracy_failures_as_wrong": int(scored.right.sum()) / tried,
    }
    arrays = scored.truth, scored.predicted, scored.probabilities, scored.labels, scored.groups
    metrics |= classification_metrics(*arrays, resamples=config.bootstrap_draws, seed=config.seed)
    return metrics, report_text(scored.truth, scored.predicted, scored.labels)
