"""Plan a run: find the images of a manifest that have no row yet, and write them in blocks."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from cxr_ray.archive.id_accounts import differing_ids, is_increasing, repeated_ids
from cxr_ray.archive.tables import count_rows_of, iter_batches, read_schema, table_writer
from cxr_ray.errors import StorageError
from cxr_ray.scoring.output.state import OutputState, drop_error_rows, drop_repeated_rows, finished_ids, settle

log = logging.getLogger("cxr_ray")


def plan_blocks(
    state: OutputState,
    manifest_uri: str,
    blocks_uri: str,
    *,
    rows_per_block: int,
    retry_errors: bool,
    carried: Sequence[str] = (),
) -> tuple[int, int]:
    """Clean up after earlier runs, and write the images that are left to score to the Parquet file `blocks_uri`.

    Args:
        state: the output.
        manifest_uri: URI of the manifest of all images, each named once.
        blocks_uri: URI of the Parquet file to write, with one row group per block.
        rows_per_block: number of images of a block, 1 or more.
        retry_errors: True deletes the error rows first, so that their images are scored again.
        carried: names of string columns of the manifest that the blocks keep.

    Returns:
        The number of images that are left to score, and the number of rows that the output holds.

    Raises:
        StorageError: if the manifest lacks one of the columns `carried`, or storage fails.
    """
    settle(state)
    if retry_errors:
        log.info("%s error rows were deleted; their images are scored again", f"{drop_error_rows(state):,}")
    is_left, done, repeated = images_left(state, manifest_uri)
    if dropped := drop_repeated_rows(state, repeated):
        log.warning("%s rows were deleted because their images had several rows", f"{dropped:,}")
    return write_images(is_left, manifest_uri, blocks_uri, rows_per_block, carried), done - dropped


def images_left(state: OutputState, manifest_uri: str) -> tuple[np.ndarray, int, list[str]]:
    """Find the images of a manifest that have no row yet.

    Args:
        state: the output.
        manifest_uri: URI of the manifest of all images, each named once.

    Returns:
        For each row of the manifest whether its image has no row, bool; the number of rows of the output; and the ids
        of images with several rows.
    """
    images, rows = count_rows_of(manifest_uri), 0

    def found() -> Iterator[pa.Array]:
        nonlocal rows
        for ids in finished_ids(state):
            rows += len(ids)
            yield ids

    is_left, repeated, foreign = np.zeros(images, bool), [], 0
    for batch in differing_ids(_ids(manifest_uri), found(), expected=images):
        counts = batch["found"].to_numpy()
        places = batch["place"].to_numpy(zero_copy_only=False)[counts == 0]
        is_left[places.astype(np.int64)] = True
        repeated += batch["image_id"].filter(pa.array(counts > 1)).to_pylist()
        foreign += batch["place"].null_count
    if foreign:
        log.warning("%s images have rows and are not in %s; their rows are kept", f"{foreign:,}", manifest_uri)
    return is_left, rows, repeated


def write_images(
    chosen: np.ndarray, manifest_uri: str, target_uri: str, rows_per_block: int, carried: Sequence[str] = ()
) -> int:
    """Write some images of a manifest, in its order, to a Parquet file with one row group per block.

    Args:
        chosen: for each row of the manifest whether it is written, bool.
        manifest_uri: URI of the manifest.
        target_uri: URI of the Parquet file to write.
        rows_per_block: number of images of a block, 1 or more.
        carried: names of string columns of the manifest that the file keeps.

    Returns:
        The number of images that were written.

    Raises:
        StorageError: if the manifest lacks one of the columns `carried`.
    """
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("size_bytes", pa.int64())])
    for name in carried:
        schema = schema.append(pa.field(name, pa.string()))
    if missing := set(carried) - set(read_schema(manifest_uri).names):
        raise StorageError(
            f"{manifest_uri} has no column {', '.join(sorted(missing))}, which this job needs; "
            "use a manifest that has it"
        )
    pending, place = schema.empty_table(), 0
    with table_writer(target_uri, schema) as writer:
        for batch in _manifest_batches(manifest_uri, schema):
            fresh = batch.filter(pa.array(chosen[place : place + batch.num_rows]))
            place += batch.num_rows
            pending = pa.concat_tables([pending, fresh])
            whole = pending.num_rows - pending.num_rows % rows_per_block
            if whole:
                writer.write_table(pending.slice(0, whole), row_group_size=rows_per_block)
            pending = pending.slice(whole)
        if pending.num_rows:
            writer.write_table(pending, row_group_size=rows_per_block)
    return int(chosen.sum())


def _manifest_batches(manifest_uri: str, schema: pa.Schema) -> Iterator[pa.Table]:
    for batch in iter_batches(manifest_uri, batch_rows=131_072):
        table = pa.Table.from_batches([batch])
        if "size_bytes" not in table.column_names:
            table = table.append_column("size_bytes", pa.nulls(table.num_rows, pa.int64()))
        yield table.select(schema.names).cast(schema)


def _ids(uri: str) -> Iterator[pa.Array]:
    return (batch["image_id"] for batch in iter_batches(uri, ["image_id"]))


def check_unique(manifest_uri: str) -> None:
    """Refuse a manifest in which an `image_id` occurs twice, or an `image_id` or `uri` is empty.

    Of two images with the same `image_id`, one would get no row.

    Raises:
        StorageError: if an `image_id` occurs twice, or values are empty; the message names the id or counts the values.
    """
    for batch in iter_batches(manifest_uri, ["image_id", "uri"]):
        if missing := batch["image_id"].null_count + batch["uri"].null_count:
            raise StorageError(f"manifest {manifest_uri} has {missing} empty image_id or uri; fill or drop those rows")
    if is_increasing(_ids(manifest_uri)):
        return  # as in every manifest of index_archive.py
    if repeated := repeated_ids(_ids(manifest_uri), expected=count_rows_of(manifest_uri)):
        raise StorageError(
            f"manifest {manifest_uri} names image_id {repeated[0]!r} more than once; make every image_id unique"
        )
