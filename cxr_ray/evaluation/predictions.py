"""Read the predictions of a classifier from the output of a job, or from the folder of Parquet files inside it."""

import pyarrow as pa

from cxr_ray.archive.datasets import refuse_duplicates
from cxr_ray.archive.same_content import CONTENT
from cxr_ray.archive.tables import read_schema, read_table
from cxr_ray.archive.uris import exists, join_uri
from cxr_ray.evaluation.truth_join import PREDICTION_COLUMNS
from cxr_ray.schema import PROVENANCE_FIELDS

OPTIONAL_FIELDS = [pa.field(CONTENT, pa.string()), *PROVENANCE_FIELDS]
"""Columns that predictions may lack."""


def predictions_folder(uri: str) -> str:
    """Find the folder of Parquet files: the subfolder `predictions` of `uri` if it exists, else `uri`."""
    inner = join_uri(uri, "predictions")
    return inner if exists(inner) else uri


def read_predictions(uri: str) -> pa.Table:
    """Read the predictions in the folder at `uri`, or in its subfolder `predictions` if that exists.

    Returns:
        `PREDICTION_COLUMNS`, `CONTENT` and every `prob_*` column; a column of `OPTIONAL_FIELDS` that the files lack is null.

    Raises:
        DatasetError: if an image has more than one prediction.
        StorageError: if no table exists, or the table lacks a column.
    """
    folder = predictions_folder(uri)
    present = read_schema(folder).names
    lacking = [field for field in OPTIONAL_FIELDS if field.name not in present]
    columns = [name for name in (*PREDICTION_COLUMNS, CONTENT) if name not in {field.name for field in lacking}]
    predictions = read_table(folder, [*columns, *(name for name in present if name.startswith("prob_"))])
    for field in lacking:  # predictions of other tools may lack content or provenance
        predictions = predictions.append_column(field.name, pa.nulls(predictions.num_rows, field.type))
    refuse_duplicates(predictions, folder, "score again into an empty output or with --overwrite")
    return predictions


def read_columns(uri: str, wanted: list[str]) -> pa.Table:
    """Read `image_id` and those of the wanted columns that the table at `uri` has.

    Raises:
        StorageError: if there is no such table, or it has no `image_id`.
    """
    present = read_schema(uri).names
    return read_table(uri, ["image_id", *(name for name in dict.fromkeys(wanted) if name in present)])
