"""Join predictions with true labels: one row per labelled image of a split."""

import functools

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import refuse_duplicates
from cxr_ray.errors import DatasetError
from cxr_ray.schema import LABELS, PROVENANCE_FIELDS, probability_column

PREDICTION_COLUMNS = [
    *("image_id", "label", "confidence", "status", "error_kind"),
    *(field.name for field in PROVENANCE_FIELDS),
]
MISSING = "missing"  # status of an image without a prediction; other images have `ok` or `error`


def labelled_images(dataset: pa.Table, split: str, uri: str) -> pa.Table:
    """Select the rows of a split that have a label.

    Args:
        dataset: rows of `schema.DATASET`.
        split: name of a split, or `all`.
        uri: URI of the dataset, for errors.

    Raises:
        DatasetError: if the dataset contains an image twice, or the split has no labelled image.
    """
    refuse_duplicates(dataset, uri, "prepare the dataset again")
    chosen = dataset if split == "all" else dataset.filter(pc.equal(dataset["split"], split))
    labelled = chosen.filter(pc.is_valid(chosen["label"]))
    if not labelled.num_rows:
        splits = ", ".join(_distinct(dataset["split"])) or "none"
        raise DatasetError(f"split {split!r} of {uri} has no labelled image; choose all or one of: {splits}")
    return labelled


def class_names(predictions: pa.Table, images: pa.Table) -> dict[str, str]:
    """Map each probability column to its label, in the order of the model's outputs, classes unknown to the model last.

    `Viral Pneumonia` and `Viral_Pneumonia` have the same column and so are one class. Its label is spelt as in
    `schema.LABELS`; a class that is not there is spelt as in the predictions, or else as in the dataset.
    """
    predicted, true = (_distinct(table["label"]) for table in (predictions, images))
    spelling = {probability_column(label): label for label in (*true, *predicted, *LABELS)}
    of_model = [name for name in predictions.column_names if name.startswith("prob_")]
    others = sorted({probability_column(label) for label in (*true, *predicted)} - {*of_model})
    return {column: spelling.get(column, column.removeprefix("prob_")) for column in [*of_model, *others]}


def join_truth(images: pa.Table, predictions: pa.Table, names: dict[str, str]) -> pa.Table:
    """Join images with predictions: one row per image, sorted by `image_id`, with status `missing` if it has no prediction.

    Args:
        images: rows of `schema.DATASET` with a label, each `image_id` once.
        predictions: rows of `schema.predictions_schema`, each `image_id` once.
        names: label of each probability column, from `class_names`.

    Returns:
        `image_id, uri, label` (the true label), `predicted, confidence, correct, prob_*, status, error_kind` and the
        provenance of the prediction. `correct` is null where `predicted` is null.

    Raises:
        DatasetError: if the row of an image has status `ok` and lacks a label or a finite probability.
    """
    probabilities = [column for column in names if column in predictions.column_names]
    scored = predictions.select([*PREDICTION_COLUMNS[:3], *probabilities, *PREDICTION_COLUMNS[3:]]).rename_columns(
        {"label": "predicted"}
    )
    scored = _respelt(scored, "predicted", names)
    truth = _respelt(images.select(["image_id", "uri", "label"]), "label", names)
    rows = truth.join(scored, keys="image_id", join_type="left outer").sort_by("image_id")
    status = rows.column_names.index("status")
    rows = rows.set_column(status, "status", pc.fill_null(rows["status"], MISSING))
    _refuse_incomplete_rows(rows, ["confidence", *probabilities])
    after_confidence = rows.column_names.index("confidence") + 1
    return rows.add_column(after_confidence, "correct", pc.equal(rows["label"], rows["predicted"]))


def _refuse_incomplete_rows(scored: pa.Table, numbers: list[str]) -> None:
    """Raise a DatasetError if a row with status `ok` lacks a label or has a value in `numbers` that is not finite."""
    finite = [pc.fill_null(pc.is_finite(scored[name]), False) for name in numbers]
    complete = functools.reduce(pc.and_, finite, pc.is_valid(scored["predicted"]))
    incomplete = scored.filter(pc.and_(pc.equal(scored["status"], "ok"), pc.invert(complete)))
    if incomplete.num_rows:
        raise DatasetError(
            f"{incomplete.num_rows} predictions have status ok but lack a label or a finite probability,"
            f" first {incomplete['image_id'][0].as_py()!r}; score these images again"
        )


def _respelt(table: pa.Table, column: str, names: dict[str, str]) -> pa.Table:
    """Replace the labels in a column by the spelling of their class in `names`."""
    encoded = table[column].combine_chunks().dictionary_encode()
    spelt = [names[probability_column(label)] for label in encoded.dictionary.to_pylist()]
    respelt = pa.array(spelt, pa.string()).take(encoded.indices)
    return table.set_column(table.column_names.index(column), column, respelt)


def _distinct(column: pa.ChunkedArray) -> list[str]:
    return sorted(filter(None, pc.unique(column).to_pylist()))
