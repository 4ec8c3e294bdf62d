"""The masks of some images out of what a segmentation wrote, of whatever size that is."""

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.tables import iter_batches, read_schema
from cxr_ray.archive.uris import exists, join_uri
from cxr_ray.evaluation.truth_join import refuse_duplicates
from cxr_ray.schema import MASKS, PROVENANCE_FIELDS

MASK_COLUMNS = ["image_id", "status", "error_kind", "mask_height", "mask_width", "mask_counts"]
OPTIONAL_FIELDS = [MASKS.field("uncertainty"), MASKS.field("iou_prediction"), *PROVENANCE_FIELDS]
SKIPPED = "skipped"
"""Status of an image that the cascade's rule left without a mask."""
CASCADE_NAMES = {"status": "mask_status", "model_id": "mask_model_id", "preprocessing_id": "mask_preprocessing_id"}
"""What the cascade calls columns whose plain names are those of its predictions."""


def read_masks(uri: str, image_ids: pa.ChunkedArray) -> pa.Table:
    """Rows of `image_ids` in the masks at `uri`, or in the folder `masks` or `scores` of a job's output; with `OPTIONAL_FIELDS`, which may be null.

    The table is streamed: what an archive holds beside these images never is in memory together.

    Raises:
        DatasetError: if one of the images has more than one row.
        StorageError: if there is no table, or it lacks a column.
    """
    inner = (join_uri(uri, name) for name in ("masks", "scores"))
    folder = next(filter(exists, inner), uri)
    present = read_schema(folder).names
    names = MASK_COLUMNS + [field.name for field in OPTIONAL_FIELDS if field.name in present]
    stored = {name: CASCADE_NAMES[name] for name in names if CASCADE_NAMES.get(name) in present}
    columns = [*names, *stored.values()]
    wanted = pc.unique(image_ids)
    found = [
        batch.filter(pc.is_in(batch["image_id"], value_set=wanted))
        for batch in iter_batches(folder, columns, batch_rows=8192)
    ]
    masks = pa.Table.from_batches(found) if found else read_schema(folder).empty_table().select(columns)
    for (
        name,
        in_cascade,
    ) in stored.items():  # where it is null, the image could not be read: the prediction's is an error
        position = masks.column_names.index(name)
        masks = masks.set_column(position, name, pc.coalesce(masks[in_cascade], masks[name]))
    masks = masks.select(names)
    for field in OPTIONAL_FIELDS:  # masks of other tools may not say where they come from, or how sure they are
        if field.name not in names:
            masks = masks.append_column(field.name, pa.nulls(masks.num_rows, field.type))
    refuse_duplicates(masks, folder, "segment into an empty output, or with --overwrite")
    return masks
