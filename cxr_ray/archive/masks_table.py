"""Read the masks of given images from the output of a segmentation, which may be larger than memory."""

import functools

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import refuse_duplicates
from cxr_ray.archive.same_content import CONTENT, refuse_other_content
from cxr_ray.archive.tables import iter_batches, read_schema
from cxr_ray.archive.uris import exists, join_uri
from cxr_ray.errors import DatasetError
from cxr_ray.schema import MASKS, PROVENANCE_FIELDS

REQUIRED_COLUMNS = ["image_id", "status", "error_kind", "mask_height", "mask_width", "mask_counts"]
OPTIONAL_FIELDS = pa.schema(
    [*map(MASKS.field, ("uncertainty", "iou_prediction", CONTENT, "format", "patient_key")), *PROVENANCE_FIELDS]
)
SKIPPED = "skipped"
"""Status of an image that the rule of the cascade did not segment."""
CASCADE_NAMES = {"status": "mask_status", "model_id": "mask_model_id", "preprocessing_id": "mask_preprocessing_id"}
"""Column names of masks in a cascade's output, where the plain names belong to the predictions."""


def masks_folder(uri: str) -> str:
    """Find the folder of Parquet files: the subfolder `masks` or `scores` of `uri` if it exists, else `uri`."""
    inner = (join_uri(uri, name) for name in ("masks", "scores"))
    return next(filter(exists, inner), uri)


def read_masks(uri: str, images: pa.Table) -> pa.Table:
    """Read the masks of given images from a table of masks.

    The table is streamed, so that only the rows of these images are in memory.

    Args:
        uri: a table of masks, or the output folder of a job with a table in `masks` or `scores`.
        images: rows of `schema.DATASET`.

    Returns:
        Rows with `REQUIRED_COLUMNS` and `OPTIONAL_FIELDS`; an optional column that the table lacks is null.

    Raises:
        DatasetError: if an image has more than one row, a row with status `ok` and no mask, or a mask of another file.
        StorageError: if there is no table, or it lacks a required column.
    """
    folder = masks_folder(uri)
    present = read_schema(folder).names
    names = [*REQUIRED_COLUMNS, *(name for name in OPTIONAL_FIELDS.names if name in present)]
    stored = {name: CASCADE_NAMES[name] for name in names if CASCADE_NAMES.get(name) in present}
    columns = [*names, *stored.values()]
    wanted = pc.unique(images["image_id"])
    found = [
        batch.filter(pc.is_in(batch["image_id"], value_set=wanted))
        for batch in iter_batches(folder, columns, batch_rows=8192)
    ]
    masks = pa.Table.from_batches(found) if found else read_schema(folder).empty_table().select(columns)
    for name, in_cascade in stored.items():
        of_mask = masks[in_cascade]
        if name == "status":  # null if the image could not be read; then the status of the prediction is an error
            of_mask = pc.coalesce(of_mask, masks[name])
        masks = masks.set_column(masks.column_names.index(name), name, of_mask)
    masks = masks.select(names)
    for field in OPTIONAL_FIELDS:  # masks of other tools may lack provenance, content or uncertainty
        if field.name not in names:
            masks = masks.append_column(field.name, pa.nulls(masks.num_rows, field.type))
    refuse_duplicates(masks, folder, "segment into an empty output, or with --overwrite")
    _refuse_rows_without_masks(masks)
    refuse_other_content(
        images,
        masks,
        refusal=f"{folder} segmented other files than {{}} of the dataset's images",
        fix="segment them again into an empty output, or prepare the dataset again",
    )
    return masks


def _refuse_rows_without_masks(masks: pa.Table) -> None:
    lacks = [pc.is_null(masks[name]) for name in ("mask_height", "mask_width", "mask_counts")]
    incomplete = masks.filter(pc.and_(pc.equal(masks["status"], "ok"), functools.reduce(pc.or_, lacks)))
    if incomplete.num_rows:
        raise DatasetError(
            f"{incomplete.num_rows} rows of masks have status ok but no mask, first {incomplete['image_id'][0].as_py()!r};"
            " segment these images again"
        )
