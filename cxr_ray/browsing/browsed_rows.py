"""Read the rows that the page shows: predictions, and what the masks of the same images add."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import refuse_duplicates
from cxr_ray.archive.same_content import CONTENT
from cxr_ray.archive.tables import count_rows_of, iter_batches, read_schema
from cxr_ray.archive.uris import exists, join_uri
from cxr_ray.errors import DatasetError

TABLES = ("predictions", "scores", "masks")
"""Folders of rows in the output of an archive job; the first that is there holds the rows of the page."""
TABLES_OF_MASKS = ("masks", "scores")
WORDS = ("status", "error_kind", "label", "mask_status", "modality", "view_position", "format")
"""Columns of few different words, each of which may be filtered by."""
FLAGS = "qc_flags"
"""Column of lists of words, one for each fault of the image's quality; predictions may lack it."""
NUMBERS = ("confidence", "entropy", "uncertainty", "area_fraction", "symmetry")
TEXTS = ("image_id", "uri", "error")
PROVENANCE = ("model_id", "mask_model_id", "run_id", "scored_at")
OF_MASKS = ("uncertainty", "area_fraction", "symmetry")
REQUIRED = ("image_id", "uri", "status")
FIX = "score again into an empty output or with --overwrite"


@dataclass(frozen=True, kw_only=True, slots=True)
class BrowsedRows:
    """The rows of a page, sorted by `image_id`."""

    table: pa.Table
    """Those of the columns `TEXTS`, `WORDS`, `NUMBERS`, `FLAGS`, `PROVENANCE` and `content_sha256` that the job wrote, and every `prob_*`."""
    found: int
    """Number of rows of the job's table, of which the page may show fewer."""
    masks_uri: str | None
    """Table that holds the masks of these images; None if there is none."""


def read_browsed_rows(predictions_uri: str, masks_uri: str | None, *, max_rows: int, seed: int) -> BrowsedRows:
    """Read at most `max_rows` rows of an archive job; of more rows, so many are drawn at random.

    Args:
        predictions_uri: output of a job, or a folder of Parquet files.
        masks_uri: output of another job with masks of the same images; None takes those of the same output.
        max_rows: maximum number of rows, at least 1.
        seed: seed of the draw.

    Raises:
        DatasetError: if there is no row, or an image has more than one.
        StorageError: if a table is missing, or it lacks a column that every table of a job has.
    """
    folder = inner_table(predictions_uri, TABLES)
    found = count_rows_of(folder)
    if not found:
        raise DatasetError(f"{folder} has no row; name the output of an archive job that has scored an image")
    table = pa.Table.from_batches(_drawn_batches(folder, _columns(folder), found, max_rows, seed))
    refuse_duplicates(table, folder, FIX)
    masks = inner_table(masks_uri, TABLES_OF_MASKS) if masks_uri else _masks_beside(predictions_uri, folder)
    if masks and masks != folder:
        table = _with_masks(table, masks)
    return BrowsedRows(table=table.sort_by("image_id"), found=found, masks_uri=masks)


def inner_table(uri: str, names: tuple[str, ...]) -> str:
    """Find the folder of rows in the output of a job: the first of `names` that exists below `uri`, else `uri` itself."""
    inner = (join_uri(uri, name) for name in names)
    return next(filter(exists, inner), uri)


def _columns(folder: str) -> list[str]:
    present = read_schema(folder).names
    wanted = dict.fromkeys((*REQUIRED, *TEXTS, *WORDS, *NUMBERS, FLAGS, *PROVENANCE, CONTENT))
    probabilities = [name for name in present if name.startswith("prob_")]
    return [*(name for name in wanted if name in present or name in REQUIRED), *probabilities]


def _drawn_batches(folder: str, columns: list[str], found: int, max_rows: int, seed: int) -> Iterator[pa.RecordBatch]:
    """Yield all rows of a table, or `max_rows` of them, drawn at random; only these are in memory."""
    if found <= max_rows:
        yield from iter_batches(folder, columns)
        return
    drawn = np.sort(np.random.default_rng(seed).choice(found, max_rows, replace=False))
    start = 0
    for batch in iter_batches(folder, columns):
        end = start + batch.num_rows
        chosen = drawn[np.searchsorted(drawn, start) : np.searchsorted(drawn, end)] - start
        yield batch.take(pa.array(chosen))
        start = end


def _masks_beside(predictions_uri: str, folder: str) -> str | None:
    """The table of masks that belongs to the rows in `folder`: the same table, or one beside it in the same output."""
    if "mask_counts" in read_schema(folder).names:
        return folder
    beside = join_uri(predictions_uri, "masks")
    return beside if exists(beside) else None


def _with_masks(table: pa.Table, folder: str) -> pa.Table:
    """Add `mask_status` and the numbers of the masks to the rows; they are null where an image has no mask's row."""
    present = read_schema(folder).names
    status = "mask_status" if "mask_status" in present else "status"
    names = {"image_id": "image_id", status: "mask_status"} | {name: name for name in OF_MASKS if name in present}
    wanted = table["image_id"].combine_chunks()
    batches = [
        batch.filter(pc.is_in(batch["image_id"], value_set=wanted))
        for batch in iter_batches(folder, list(names), batch_rows=8192)
    ]
    masks = pa.Table.from_batches(batches).rename_columns(list(names.values()))
    refuse_duplicates(masks, folder, "segment into an empty output, or with --overwrite")
    places = pc.index_in(wanted, value_set=masks["image_id"].combine_chunks())
    for name in list(names.values())[1:]:
        column = masks[name].combine_chunks().take(places)
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, column)
    return table
