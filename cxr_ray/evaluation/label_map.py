"""Translate the labels of another dataset into those of the model."""

from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.errors import DatasetError
from cxr_ray.schema import probability_column


def map_labels(
    images: pa.Table, label_map: Mapping[str, str | None], known: set[str], dataset: pa.Table, uri: str
) -> tuple[pa.Table, dict[str, int]]:
    """Translate the labels of images, and leave out those whose label is mapped to nothing.

    Labels are compared as their probability columns are, so that `Viral Pneumonia` and `viral_pneumonia` are one.

    Args:
        images: rows of `schema.DATASET` with a label.
        label_map: the model's label by the dataset's label, None to leave the images out.
        known: probability columns of the model.
        dataset: the whole dataset; a label that it lacks may not be mapped.
        uri: URI of the dataset, for errors.

    Returns:
        The images that are left, and the number of those that were left out by their label.

    Raises:
        DatasetError: if a label is neither mapped nor of the model, a mapped label does not occur, is mapped to a class that
            the model lacks, or no image is left.
    """
    wanted = {probability_column(theirs): ours for theirs, ours in label_map.items()}
    names = sorted(set(images["label"].to_pylist()))
    all_names = sorted(filter(None, set(dataset["label"].to_pylist())))
    present = {probability_column(label) for label in all_names}
    classes = ", ".join(sorted(column.removeprefix("prob_") for column in known))
    if absent := [theirs for theirs in label_map if probability_column(theirs) not in present]:
        raise DatasetError(
            f"label_map names {absent[0]!r}, which no image of {uri} has; its labels are {', '.join(all_names)}"
        )
    if alien := [ours for ours in label_map.values() if ours and probability_column(ours) not in known]:
        raise DatasetError(f"label_map maps to {alien[0]!r}, which the model does not know; its classes are {classes}")
    unmapped = [n for n in names if probability_column(n) not in wanted and probability_column(n) not in known]
    if unmapped:
        raise DatasetError(
            f"the model does not know the label {unmapped[0]!r} of {uri} ({len(unmapped)} such labels); "
            f"add {unmapped[0]}=OURS to label_map, or {unmapped[0]}= to leave its images out; its classes are {classes}"
        )
    labels = [wanted.get(probability_column(label), label) for label in images["label"].to_pylist()]
    mapped = images.set_column(images.column_names.index("label"), "label", pa.array(labels, pa.string()))
    left_out = images.filter(pc.is_null(mapped["label"]))["label"].value_counts().to_pylist()
    kept = mapped.filter(pc.is_valid(mapped["label"]))
    if not kept.num_rows:
        raise DatasetError(f"label_map leaves out all {images.num_rows:,} images of {uri}; map a label to a class")
    return kept, {row["values"]: row["counts"] for row in sorted(left_out, key=lambda row: row["values"])}
