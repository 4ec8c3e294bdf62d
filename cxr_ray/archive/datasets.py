"""Read and check the dataset table that `prepare_dataset.py` writes, and compute its fingerprint."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxr_ray.archive.tables import read_schema, read_table
from cxr_ray.archive.uris import one_line
from cxr_ray.errors import DatasetError
from cxr_ray.schema import (
    ABSENT,
    DATASET,
    FINDING_PREFIX,
    PRESENT,
    SPLITS,
    UNCERTAIN,
    finding_columns,
    finding_name,
    findings_dataset_schema,
    probability_column,
)


def read_dataset(uri: str) -> pa.Table:
    """Read the dataset table at `uri`, in the columns of `schema.DATASET`.

    Raises:
        StorageError: if there is no such table or it lacks a column.
        DatasetError: if it is empty, has a column of a wrong type or names a split that does not exist.
    """
    return _read(uri, DATASET)


def read_findings(uri: str) -> pa.Table:
    """Read the dataset of findings at `uri`: the columns of `schema.DATASET`, and int8 columns such as `label_edema`.

    Raises:
        StorageError: if there is no such table or it lacks a column.
        DatasetError: as `read_dataset`, or if there is no column of a finding or one has a value that is not 1, 0, -1 or null.
    """
    columns = finding_columns(read_schema(uri).names)
    if not columns:
        raise DatasetError(
            f"dataset {uri} has no column of a finding, such as label_edema; make it with prepare_dataset.py --labels-uri"
        )
    table = _read(uri, findings_dataset_schema(column.removeprefix(FINDING_PREFIX) for column in columns))
    for column in columns:
        known = pc.is_in(table[column], value_set=pa.array([PRESENT, ABSENT, UNCERTAIN, None], pa.int8()))
        if not pc.all(known).as_py():
            first = table[column].filter(pc.invert(known))[0]
            raise DatasetError(
                f"column {column} of {uri} has the value {first}; write 1 (present), 0 (absent), -1 (uncertain) or null"
            )
    return table


def finding_labels(dataset: pa.Table) -> tuple[str, ...]:
    """Names of the findings of a table from `read_findings`, in the order of its columns."""
    return tuple(column.removeprefix(FINDING_PREFIX) for column in finding_columns(dataset.column_names))


def finding_values(table: pa.Table, findings: Sequence[str], prefix: str = FINDING_PREFIX) -> NDArray[np.float32]:
    """Values of findings, float32 [N, K]: 1 present, 0 absent, -1 uncertain, NaN if nothing is known.

    Args:
        table: a table with a column of each finding.
        findings: names of the K findings.
        prefix: prefix of their columns.
    """
    columns = [table[prefix + finding_name(finding)].cast(pa.float32()) for finding in findings]
    values = [pc.fill_null(column, float("nan")).to_numpy() for column in columns]
    return np.stack(values, axis=1).astype(np.float32) if values else np.empty((table.num_rows, 0), np.float32)


def _read(uri: str, schema: pa.Schema) -> pa.Table:
    """Read the columns of `schema` of the dataset at `uri`, and check what holds for every dataset."""
    try:
        table = read_table(uri, schema.names).cast(schema)
    except pa.ArrowException as error:
        raise DatasetError(
            f"dataset {uri} has a column of a wrong type: {one_line(error)}; make it with prepare_dataset.py"
        ) from error
    if not table.num_rows:
        raise DatasetError(f"dataset {uri} has no rows; make it with prepare_dataset.py")
    unknown = set(table["split"].to_pylist()) - set(SPLITS)
    if unknown:
        raise DatasetError(
            f"dataset {uri} names the splits {sorted(map(str, unknown))}; only {', '.join(SPLITS)} exist"
        )
    return table


def rows_of_split(table: pa.Table, split: str) -> pa.Table:
    """Select the rows of one split of a dataset table, sorted by image_id.

    Raises:
        DatasetError: if the split has no row.
    """
    rows = table.filter(pc.equal(table["split"], split)).sort_by("image_id")
    if not rows.num_rows:
        raise DatasetError(f"the dataset has no {split} images; splits: {pc.value_counts(table['split']).to_pylist()}")
    return rows


def class_labels(dataset: pa.Table) -> tuple[str, ...]:
    """Return the class names of a dataset in alphabetical order, which is the order of the classifier's outputs.

    Raises:
        DatasetError: if an image has no label, all images have the same label, or the column names of two labels are equal,
            as for labels that differ only in case or spaces.
    """
    if dataset["label"].null_count == dataset.num_rows:
        raise DatasetError(
            "no image has a class in the column label; label the images, or train a dataset of findings (columns such as"
            " label_edema) with train_classifier.py --task multilabel"
        )
    if dataset["label"].null_count:
        raise DatasetError(
            f"{dataset['label'].null_count} images have no label; a classifier needs one for each image, so label them or "
            "drop them from the dataset"
        )
    labels = tuple(sorted(set(dataset["label"].to_pylist())))
    if len(labels) < 2:
        raise DatasetError(
            f"all images are labelled {labels[0]!r}; a classifier needs two classes or more, so add images of another class"
        )
    columns = [probability_column(label) for label in labels]
    if repeated := [label for label, column in zip(labels, columns, strict=True) if columns.count(column) > 1]:
        raise DatasetError(
            f"labels {', '.join(repeated)} would get the same column in the predictions; give them names that differ in more "
            "than case and spaces, or the same name"
        )
    return labels


def refuse_duplicates(table: pa.Table, uri: str, fix: str) -> None:
    """Refuse a table with several rows of one image, which would be counted several times.

    Args:
        table: a table with the column `image_id`.
        uri: URI of the table, for the error.
        fix: what the user should do, for the error.

    Raises:
        DatasetError: if an `image_id` occurs in more than one row.
    """
    counts = pc.value_counts(table["image_id"].combine_chunks())
    repeated = counts.filter(pc.greater(counts.field("counts"), 1))
    if len(repeated):
        first = repeated[0].as_py()
        raise DatasetError(
            f"image_id {first['values']!r} occurs {first['counts']} times in {uri} ({len(repeated)} such images); {fix}"
        )


def dataset_fingerprint(table: pa.Table) -> str:
    """Fingerprint of a dataset: 16 hex digits that depend only on the content, label, findings and split of every image."""
    findings = sorted(finding_columns(table.column_names))
    columns = (table[name].to_pylist() for name in ("content_sha256", "label", "split", *findings))
    lines = sorted(" ".join(map(str, values)) for values in zip(*columns, strict=True))
    lines = [" ".join(findings), *lines] if findings else lines
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
