"""The masks to train on: the mask pictures that the dataset names, or the run-length encoded masks of a teacher."""

import hashlib

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import dataset_fingerprint
from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.archive.masks_table import read_masks
from cxr_ray.errors import DatasetError
from cxr_ray.imaging.load import OBJECTS_AT_ONCE
from cxr_ray.training.readable_images import unreadable

UNCERTAIN_WEIGHT = 0.25
"""Weight in the loss of a mask whose uncertainty is above the quantile, if such masks are downweighted."""
MASK_COLUMNS = ("mask_uri", "mask_counts", "mask_height", "mask_width", "weight")
"""Columns of a mask: either `mask_uri` or the next three are null; `weight` is the mask's float64 weight in the loss."""


def true_masks(dataset: pa.Table) -> pa.Table:
    """Select the rows of a dataset that name a mask picture, with `MASK_COLUMNS` and weight 1.

    Raises:
        DatasetError: if no row names a mask picture.
    """
    rows = dataset.filter(pc.is_valid(dataset["mask_uri"]))
    if not rows.num_rows:
        raise DatasetError(
            "the dataset names no mask; prepare a dataset with masks/, or name masks of segment_archive.py with --masks-uri"
        )
    count = rows.num_rows
    for name, kind in (("mask_counts", pa.string()), ("mask_height", pa.int32()), ("mask_width", pa.int32())):
        rows = rows.append_column(name, pa.nulls(count, kind))
    return rows.append_column("weight", pa.repeat(pa.scalar(1.0), count))


def teacher_masks(dataset: pa.Table, masks_uri: str, *, quantile: float, uncertain: str) -> pa.Table:
    """Select the rows of a dataset for which a teacher found a mask, with `MASK_COLUMNS`.

    The uncertainty of a mask is its column `uncertainty`, or 1 - `iou_prediction` where that column is null.

    Args:
        dataset: table of the schema `DATASET`.
        masks_uri: output of segment_archive.py that holds the teacher's masks.
        quantile: quantile, 0-1, of the uncertainty of the train split's masks; train masks above it are uncertain.
        uncertain: `drop` drops the uncertain masks, `downweight` gives them the weight `UNCERTAIN_WEIGHT`.

    Raises:
        DatasetError: if no image has a mask, if the quantile is below 1 and a mask has no uncertainty, or if `read_masks`
            refuses the masks.
    """
    masks = read_masks(masks_uri, dataset)
    masks = masks.filter(pc.equal(masks["status"], "ok"))  # a teacher that found no lungs has most often failed
    uncertainty = pc.coalesce(masks["uncertainty"], pc.subtract(1.0, masks["iou_prediction"])).cast(pa.float64())
    names = ["image_id", "mask_counts", "mask_height", "mask_width"]
    found = masks.select(names).append_column("uncertainty", uncertainty)
    kept = dataset.drop_columns(["mask_uri"]).join(found, keys="image_id", join_type="inner").sort_by("image_id")
    if not kept.num_rows:
        raise DatasetError(
            f"{masks_uri} has no mask for any image of the dataset; segment the archive that the dataset was prepared from"
        )
    weight = pa.repeat(pa.scalar(1.0), kept.num_rows)
    if quantile < 1:
        if kept["uncertainty"].null_count:
            raise DatasetError(f"{masks_uri} has masks without an uncertainty; leave --uncertainty-quantile at 1")
        is_train = pc.equal(kept["split"], "train")
        limit = pc.quantile(kept["uncertainty"].filter(is_train), quantile)[0]
        is_uncertain = pc.and_(is_train, pc.greater(kept["uncertainty"], limit))
        weight = pc.if_else(is_uncertain, 0.0 if uncertain == "drop" else UNCERTAIN_WEIGHT, 1.0)
    kept = kept.drop_columns(["uncertainty"]).append_column("mask_uri", pa.nulls(kept.num_rows, pa.string()))
    kept = kept.append_column("weight", weight)
    return kept.filter(pc.greater(kept["weight"], 0))


def masks_fingerprint(rows: pa.Table) -> str:
    """Compute a fingerprint, 16 hex digits, of content, split and mask of every row; this reads every mask picture.

    Raises:
        DatasetError: if a mask picture cannot be read; the error names its image.
    """
    columns = [rows[name].to_pylist() for name in ("image_id", *MASK_COLUMNS[1:])]
    lines = sorted("\x1f".join(map(str, row)) for row in zip(_picture_hashes(rows), *columns, strict=True))
    return hashlib.sha256("\n".join([dataset_fingerprint(rows), *lines]).encode()).hexdigest()[:16]


def _picture_hashes(rows: pa.Table) -> list[str | None]:
    """SHA-256 of the content of each row's mask picture; None for each row if the masks are run-length encoded."""
    if rows["mask_uri"].null_count:
        return [None] * rows.num_rows
    uris, ids = rows["mask_uri"].to_pylist(), rows["image_id"].to_pylist()
    hashes: list[str | None] = []
    for start in range(0, len(uris), OBJECTS_AT_ONCE):
        fetched = fetch_objects(uris[start : start + OBJECTS_AT_ONCE])
        for image_id, one in zip(ids[start : start + OBJECTS_AT_ONCE], fetched, strict=True):
            if one.data is None:
                raise unreadable(image_id, one.error, "its mask: ")
            hashes.append(hashlib.sha256(one.data).hexdigest())
    return hashes
