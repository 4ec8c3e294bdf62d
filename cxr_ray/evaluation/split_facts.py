"""What a dataset says about its splits: how many images each has, and what two of them share."""

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def split_facts(dataset: pa.Table) -> dict[str, Any]:
    """Count images, and what lies on both sides of a border between splits.

    Args:
        dataset: rows of `schema.DATASET`, of all splits.

    Returns:
        `images`: number of images by split; `patients_shared`, `copies_shared`: patients and groups of copies with images in more
        than one split; `without_patient`: images whose patient is not known.
    """
    counts = {one["values"]: one["counts"] for one in pc.value_counts(dataset["split"]).to_pylist()}
    order = [name for name in ("train", "val", "test") if name in counts]
    order += sorted(str(name) for name in counts if name is not None and name not in order)
    return {
        "images": {name: counts[name] for name in order},
        "patients_shared": _shared(dataset, "patient_id"),
        "copies_shared": _shared(dataset, "duplicate_group"),
        "without_patient": dataset["patient_id"].null_count,
    }


def _shared(dataset: pa.Table, column: str) -> int:
    """Number of values of a column that occur in more than one split."""
    known = pc.and_(pc.is_valid(dataset[column]), pc.is_valid(dataset["split"]))
    pairs = dataset.select([column, "split"]).filter(known).group_by([column, "split"]).aggregate([])
    splits = pc.value_counts(pairs[column].combine_chunks()).field("counts")
    return int(pc.sum(pc.greater(splits, 1)).as_py() or 0)
