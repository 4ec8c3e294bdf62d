"""Evaluate the images of each value of a metadata column apart."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import refuse_duplicates
from cxr_ray.archive.tables import read_schema, read_table
from cxr_ray.archive.uris import one_line, read_bytes
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.predictions import predictions_folder, read_columns
from cxr_ray.evaluation.scored_arrays import Scored
from cxr_ray.metrics.classification import classification_metrics

UNKNOWN = "unknown"
"""Name of the subgroup of images without a value."""
MAX_VALUES = 20
"""Values of a column that have a row of their own; the images of rarer values are evaluated together."""
MAX_NUMBERS = 10
"""Distinct numbers of a column that have a row of their own; more numbers are divided at their quartiles."""
FIGURES = ("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc")


def subgroups(rows: pa.Table, scored: Scored, config: EvaluateClassifierConfig) -> dict[str, Any]:
    """Evaluate the scored images of each value of each column of `config.subgroups`, see `subgroup_metrics`.

    Raises:
        DatasetError: if no table has a column, or a table knows none of the images.
    """
    if not config.subgroups:
        return {}
    sources = {config.metadata_uri: read_metadata(config.metadata_uri)} if config.metadata_uri else {}
    tables = (config.dataset_uri, predictions_folder(config.predictions_uri))
    sources |= {uri: read_columns(uri, list(config.subgroups)) for uri in tables}
    names = [name for table in sources.values() for name in table.column_names]
    if absent := [column for column in config.subgroups if column not in names]:
        known = sorted({*names, *(name for uri in tables for name in read_schema(uri).names)} - {"image_id"})
        raise DatasetError(f"no table has the column {absent[0]!r} of subgroups; there are {', '.join(known)}")
    image_ids = rows.filter(pc.equal(rows["status"], "ok"))["image_id"].to_pylist()
    values = subgroup_values(image_ids, config.subgroups, sources)
    drawing = {"resamples": config.bootstrap_draws, "seed": config.seed}
    return {column: subgroup_metrics(scored, of_column, **drawing) for column, of_column in values.items()}


def read_metadata(uri: str) -> pa.Table:
    """Read a table of metadata as CSV, or as Parquet if its name ends in `.parquet` or it is a folder.

    Returns:
        The table, whose column `image_id` is that of the file, or else its `path`.

    Raises:
        DatasetError: if it is not CSV, names an image twice, or has neither `image_id` nor `path`.
        StorageError: if it cannot be read.
    """
    from pyarrow import csv

    if uri.lower().endswith((".csv", ".txt")):
        try:
            table = csv.read_csv(pa.BufferReader(read_bytes(uri)))
        except pa.ArrowException as error:
            raise DatasetError(f"metadata {uri} is not readable as CSV: {one_line(error)}; save it again") from error
    else:
        table = read_table(uri)
    key = next((name for name in ("image_id", "path") if name in table.column_names), None)
    if key is None:
        names = ", ".join(table.column_names)
        raise DatasetError(
            f"metadata {uri} has neither image_id nor path; it has {names}; name the images by one of them"
        )
    if key == "path":
        table = table.drop_columns(["path"]).append_column("image_id", table["path"].cast(pa.string()))
    refuse_duplicates(table, uri, "keep one row of each image")
    return table


def subgroup_values(
    image_ids: Sequence[str], columns: Sequence[str], sources: Mapping[str, pa.Table]
) -> dict[str, list[Any]]:
    """Find the value of each image in each column, None where there is none.

    Args:
        image_ids: the images.
        columns: names of columns, each in one of the tables.
        sources: tables with `image_id` by a name for errors; the first one that has a column gives its values.

    Raises:
        DatasetError: if the table that has a column knows none of the images.
    """
    found: dict[str, list[Any]] = {}
    for column in columns:
        source = next(name for name, table in sources.items() if column in table.column_names)
        table = sources[source]
        by_id = dict(zip(table["image_id"].to_pylist(), table[column].to_pylist(), strict=True))
        if not by_id.keys() & set(image_ids):
            raise DatasetError(
                f"{source} knows none of the images, the first of which is {image_ids[0]!r}; "
                f"its first image is {next(iter(by_id), None)!r}; name the images as in the dataset"
            )
        found[column] = [by_id.get(image_id) for image_id in image_ids]
    return found


def subgroup_metrics(scored: Scored, values: Sequence[Any], *, resamples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Compute metrics for the images of each value of a column, ready for strict JSON, the largest subgroup first.

    Args:
        scored: N scored images.
        values: value of each image; None if it has none.
        resamples: number of bootstrap resamples of patients.
        seed: seed of the bootstrap.

    Returns:
        By subgroup: `n`, `n_patients`, the figures of `FIGURES`, the `recall` of each class, and `intervals` of the figures.
    """
    names = np.array(_names(values), dtype=object)
    distinct, counts = np.unique(names.astype(str), return_counts=True)
    found = {}
    for name in distinct[np.lexsort((distinct, -counts))]:
        part = scored.only(names == name)
        metrics = classification_metrics(
            part.truth, part.predicted, part.probabilities, part.labels, part.groups, resamples=resamples, seed=seed
        )
        found[str(name)] = {
            "n": len(part),
            "n_patients": metrics["n_patients"],
            **{figure: metrics[figure] for figure in FIGURES},
            "intervals": {figure: metrics["intervals"][figure] for figure in FIGURES},
            "recall": {label: row["recall"] for label, row in metrics["per_class"].items()},
            "support": {label: row["support"] for label, row in metrics["per_class"].items()},
        }
    return found


def _names(values: Sequence[Any]) -> list[str]:
    """Name the subgroup of each value."""
    values = [None if _is_absent(value) else value for value in values]
    known = [value for value in values if value is not None]
    numbers = bool(known) and all(isinstance(v, int | float) and not isinstance(v, bool) for v in known)
    if numbers and len(set(known)) > MAX_NUMBERS:
        return _quartiles(values, np.array(known, dtype=np.float64))
    counts: dict[Any, int] = {}
    for value in known:
        counts[value] = counts.get(value, 0) + 1
    kept = set(sorted(counts, key=lambda value: (-counts[value], str(value)))[:MAX_VALUES])
    rare = f"other ({len(counts) - len(kept)} values)"
    return [UNKNOWN if v not in counts else str(v) if v in kept else rare for v in values]


def _is_absent(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and math.isnan(value))


def _quartiles(values: Sequence[Any], known: np.ndarray) -> list[str]:
    bounds = np.unique(np.quantile(known, [0, 0.25, 0.5, 0.75, 1]))
    if len(bounds) == 1:
        return [UNKNOWN if v is None else f"{bounds[0]:g}" for v in values]
    names = []
    for value in values:
        if value is None:
            names.append(UNKNOWN)
            continue
        at = int(np.clip(np.searchsorted(bounds, value, side="right") - 1, 0, len(bounds) - 2))
        closing = "]" if at == len(bounds) - 2 else ")"
        names.append(f"[{bounds[at]:g}, {bounds[at + 1]:g}{closing}")
    return names
