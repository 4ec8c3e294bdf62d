"""Write the Parquet manifest of an archive, sorted by image_id, and update it by merging two sorted streams."""

import logging
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from itertools import islice
from typing import TypeVar

import pyarrow as pa

from cxr_ray.archive.exclusion import Exclusion
from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.archive.job_outputs import PassedOutputs, list_with_outputs
from cxr_ray.archive.listing import ListedObject
from cxr_ray.archive.recognise import HEAD_BYTES, PICTURE_SUFFIX, is_drawn_picture, recognise_format
from cxr_ray.archive.run_record import write_table_record
from cxr_ray.archive.tables import iter_batches, table_uri, table_writer
from cxr_ray.archive.uris import absolute_uri, exists
from cxr_ray.config import IndexConfig
from cxr_ray.config.redaction import redacted
from cxr_ray.errors import StorageError
from cxr_ray.schema import MANIFEST

log = logging.getLogger("cxr_ray")
Item = TypeVar("Item")

IMAGE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".dcm",
    ".dicom",
    ".dic",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".webp",
    ".jp2",
    ".j2k",
)
# fmt: off
SIDECAR_SUFFIXES = (
    ".csv", ".tsv", ".json", ".jsonl", ".txt", ".md", ".xml", ".yaml", ".yml", ".toml", ".html", ".xls", ".xlsx",
    ".pdf", ".parquet", ".sql", ".log", ".py", ".zip", ".gz", ".tar", ".ini", ".db", ".safetensors",
)
# fmt: on
BATCH = 4096  # number of objects whose first bytes are read together


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestRow:
    """One image of the archive, with the columns of `schema.MANIFEST`."""

    image_id: str
    uri: str
    size_bytes: int | None
    modified: datetime | None
    etag: str | None
    format: str | None

    @classmethod
    def of(cls, entry: ListedObject) -> "ManifestRow":
        """Make the row of an object whose format is not known yet."""
        return cls(
            image_id=entry.name,
            uri=entry.uri,
            size_bytes=entry.size_bytes,
            modified=entry.modified,
            etag=entry.etag,
            format=None,
        )

    def is_same_content(self, other: "ManifestRow") -> bool:
        """Whether URI, size, time and ETag show no change of the object since `other` was listed."""
        return (self.uri, self.size_bytes, self.modified, self.etag) == (
            other.uri,
            other.size_bytes,
            other.modified,
            other.etag,
        )


@dataclass(slots=True)
class IndexCounts:
    """Numbers of objects that a run of the index found."""

    images: int = 0
    bytes: int = 0
    new: int = 0
    changed: int = 0
    removed: int = 0
    skipped: int = 0
    """Objects that were excluded, belong to an output of a job, or are not images by their name and by their content."""


def index_archive(config: IndexConfig) -> IndexCounts:
    """List `config.input_uri` into the manifest at `config.output_uri` and print a summary.

    The listing and the previous manifest are merged as sorted streams, so memory does not grow with the archive. An
    object that was listed before and did not change is not read again.

    Raises:
        StorageError: if the input cannot be listed or has no image, or the output cannot be read or written.
    """
    target = table_uri(config.output_uri, "manifest")
    previous = read_manifest(target) if exists(target) else iter(())
    counts = write_manifest(
        config.input_uri,
        target,
        exclude=config.exclude,
        previous=previous,
        recognise_all=config.recognise == "content",
    )
    write_table_record(absolute_uri(target), config, counts=asdict(counts))
    print(f"{counts.images:,} images, {counts.bytes / 1e9:,.2f} GB in {redacted(target)}")
    changes = f"{counts.new:,} new, {counts.changed:,} changed, {counts.removed:,} removed"
    print(f"{changes}, {counts.skipped:,} other files passed over")
    return counts


def write_manifest(
    input_uri: str,
    output_uri: str,
    *,
    exclude: Sequence[str] = (),
    previous: Iterable[ManifestRow] = (),
    recognise_all: bool = False,
) -> IndexCounts:
    """List `input_uri` into one Parquet file at `output_uri`.

    Args:
        input_uri: folder or prefix of the archive.
        output_uri: Parquet file that is replaced when the listing is complete.
        exclude: shell patterns of image_ids to leave out, see `Exclusion`; one that matches nothing is logged.
        previous: rows of an earlier manifest, sorted by image_id; unchanged objects are not read again.
        recognise_all: read the first bytes of every object, also if its name has an image suffix.

    Raises:
        StorageError: if the input cannot be listed or has no image, or the output cannot be written.
    """
    counts = IndexCounts()
    listed = list_rows(input_uri, exclude, counts)
    with table_writer(output_uri, MANIFEST) as writer:
        for rows in batched(_merge(listed, previous, counts, recognise_all), 65_536):
            counts.images += len(rows)
            counts.bytes += sum(row.size_bytes or 0 for row in rows)
            columns = {name: [getattr(row, name) for row in rows] for name in MANIFEST.names}
            writer.write_table(pa.Table.from_pydict(columns, schema=MANIFEST))
        if not counts.images:  # raised inside the block, so that an existing manifest is kept
            raise StorageError(
                f"no image under {input_uri}; {counts.skipped} other files were passed over;"
                " check the URI and --exclude"
            )
    return counts


def list_rows(uri: str, exclude: Sequence[str], counts: IndexCounts) -> Iterator[ManifestRow]:
    """Yield the objects under `uri` as manifest rows with `format` None, sorted by image_id.

    Objects that `exclude` names or that lie in an output of a job are added to `counts.skipped`. At the end, the log names
    the outputs and the patterns that matched nothing. The errors are those of `list_objects`.
    """
    exclusion, passed = Exclusion(exclude), PassedOutputs()
    for entry, output in list_with_outputs(absolute_uri(uri)):
        if exclusion.covers(entry.name):
            counts.skipped += 1
        elif output is not None:
            counts.skipped += 1
            passed.add(output)
        else:
            yield ManifestRow.of(entry)
    passed.log(uri)
    if exclusion.unmatched:
        log.warning(
            "--exclude %s matched nothing below %s; names there are relative to it, such as CLASS/masks/1.png",
            shlex.join(exclusion.unmatched),
            uri,
        )


def read_manifest(uri: str) -> Iterator[ManifestRow]:
    """Stream the rows of the manifest at `uri`, in the order of the file.

    Raises:
        StorageError: if the manifest is missing, unreadable, or lacks a column.
    """
    for batch in iter_batches(uri, MANIFEST.names):
        for row in batch.to_pylist():
            yield ManifestRow(**row)


def _merge(
    listed: Iterable[ManifestRow], previous: Iterable[ManifestRow], counts: IndexCounts, recognise_all: bool
) -> Iterator[ManifestRow]:
    """Merge two streams sorted by image_id: keep unchanged rows, and recognise the format of new and changed ones."""
    old_rows = iter(previous)
    old = next(old_rows, None)
    for batch in batched(listed, BATCH):
        known: dict[str, ManifestRow] = {}
        for row in batch:
            while old is not None and old.image_id < row.image_id:
                counts.removed += 1
                old = next(old_rows, None)
            if old is not None and old.image_id == row.image_id:
                known[row.image_id] = old
                old = next(old_rows, None)
        yield from _recognise(batch, known, counts, recognise_all)
    counts.removed += (old is not None) + sum(1 for _ in old_rows)


def _recognise(
    rows: list[ManifestRow], known: dict[str, ManifestRow], counts: IndexCounts, recognise_all: bool
) -> Iterator[ManifestRow]:
    """Fill `format` of new rows from their first bytes, and drop rows that are images neither by name nor by content.

    An object that cannot be read may be an image, so it stays a row, with which scoring reports the error.
    """
    same = {r.image_id for r in rows if r.image_id in known and _is_settled(r, known[r.image_id])}
    unread = [r for r in rows if r.image_id not in same and r.size_bytes and (recognise_all or _is_doubtful(r))]
    heads = fetch_objects([r.uri for r in unread], first_bytes=HEAD_BYTES)
    formats = {r.image_id: recognise_format(h.data) if h.data else None for r, h in zip(unread, heads, strict=True)}
    unknown = {r.image_id for r, h in zip(unread, heads, strict=True) if h.data is None}
    drawn = {r.image_id for r, h in zip(unread, heads, strict=True) if h.data and is_drawn_picture(h.data)}
    if drawn:
        log.info("%s pictures of predict_image.py were passed over, such as %s", f"{len(drawn):,}", min(drawn))
    for row in rows:
        if row.image_id in same:
            yield known[row.image_id]
            continue
        image_format = formats.get(row.image_id)
        is_sidecar = image_format is None and row.image_id not in unknown and _has_suffix(row, SIDECAR_SUFFIXES)
        if is_sidecar or row.image_id in drawn:
            counts.skipped += 1
            counts.removed += row.image_id in known
            log.debug("passed over %s: not an image by name or content", row.uri)
            continue
        counts.changed += row.image_id in known
        counts.new += row.image_id not in known
        yield replace(row, format=image_format)


def _is_settled(row: ManifestRow, old: ManifestRow) -> bool:
    """Whether the object did not change since it was listed as `old`, and could be read then."""
    was_unread = old.format is None and _has_suffix(row, SIDECAR_SUFFIXES)
    return row.is_same_content(old) and not was_unread


def _is_doubtful(row: ManifestRow) -> bool:
    """Whether the name does not say that the object is an image of the archive."""
    return not _has_suffix(row, IMAGE_SUFFIXES) or _has_suffix(row, (PICTURE_SUFFIX,))


def _has_suffix(row: ManifestRow, suffixes: tuple[str, ...]) -> bool:
    return row.image_id.lower().endswith(suffixes)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Split `items` into consecutive lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
