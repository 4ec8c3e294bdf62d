"""A Parquet manifest of an archive, sorted by image_id and brought up to date by merging two sorted streams."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from fnmatch import fnmatchcase
from itertools import islice
from typing import TypeVar

import pyarrow as pa

from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.archive.listing import list_objects
from cxr_ray.archive.recognise import HEAD_BYTES, recognise_format
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
    ".pdf", ".parquet", ".sql", ".log", ".py", ".zip", ".gz", ".tar", ".ini", ".db",
)
# fmt: on
BATCH = 4096  # objects whose heads are read together


@dataclass(frozen=True, kw_only=True, slots=True)
class ManifestRow:
    """One image of the archive."""

    image_id: str
    uri: str
    size_bytes: int | None
    modified: datetime | None
    etag: str | None
    format: str | None

    def is_same_content(self, other: "ManifestRow") -> bool:
        """Whether the storage gives no sign that the object was replaced since `other` was listed."""
        return (self.uri, self.size_bytes, self.modified, self.etag) == (
            other.uri,
            other.size_bytes,
            other.modified,
            other.etag,
        )


@dataclass(slots=True)
class IndexCounts:
    """What a run of the index found."""

    images: int = 0
    bytes: int = 0
    new: int = 0
    changed: int = 0
    removed: int = 0
    skipped: int = 0
    """Objects that were excluded, or whose name and content both say that they are no image."""


def index_archive(config: IndexConfig) -> IndexCounts:
    """List `config.input_uri` into the manifest at `config.output_uri` and print a summary.

    Memory stays constant: the listing and the previous manifest are merged as sorted streams. An object that was
    listed before and did not change is not read again.
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
    changes = f"{counts.new:,} new, {counts.changed:,} changed, {counts.removed:,} gone"
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
    """List `input_uri` into one Parquet file at `output_uri`; see `index_archive`."""
    counts = IndexCounts()
    listed = _without(list_rows(input_uri), exclude, counts)
    with table_writer(output_uri, MANIFEST) as writer:
        for rows in batched(_merge(listed, previous, counts, recognise_all), 65_536):
            counts.images += len(rows)
            counts.bytes += sum(row.size_bytes or 0 for row in rows)
            columns = {name: [getattr(row, name) for row in rows] for name in MANIFEST.names}
            writer.write_table(pa.Table.from_pydict(columns, schema=MANIFEST))
        if not counts.images:  # raised inside the block, so that a manifest that stands there stays
            raise StorageError(f"no image under {input_uri}; {counts.skipped} other files were passed over")
    return counts


def _without(rows: Iterable[ManifestRow], patterns: Sequence[str], counts: IndexCounts) -> Iterator[ManifestRow]:
    """Rows whose image_id matches none of the shell patterns (`*` also crosses folders)."""
    for row in rows:
        if any(fnmatchcase(row.image_id, pattern) for pattern in patterns):
            counts.skipped += 1
        else:
            yield row


def list_rows(uri: str) -> Iterator[ManifestRow]:
    """Every object under `uri` as a manifest row whose format is not known yet."""
    for entry in list_objects(absolute_uri(uri)):
        yield ManifestRow(
            image_id=entry.name,
            uri=entry.uri,
            size_bytes=entry.size_bytes,
            modified=entry.modified,
            etag=entry.etag,
            format=None,
        )


def read_manifest(uri: str) -> Iterator[ManifestRow]:
    """Stream the manifest at `uri`, in its order."""
    for batch in iter_batches(uri, MANIFEST.names):
        for row in batch.to_pylist():
            yield ManifestRow(**row)


def _merge(
    listed: Iterable[ManifestRow], previous: Iterable[ManifestRow], counts: IndexCounts, recognise_all: bool
) -> Iterator[ManifestRow]:
    """Join two streams sorted by image_id: unchanged rows as they were, new and changed ones recognised."""
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
    """Fill `format` of new rows from their first bytes, and drop what is an image neither by name nor by content."""
    same = {i for i, old in known.items()} & {
        r.image_id for r in rows if r.image_id in known and r.is_same_content(known[r.image_id])
    }
    unread = [
        r
        for r in rows
        if r.image_id not in same and r.size_bytes and (recognise_all or not _has_suffix(r, IMAGE_SUFFIXES))
    ]
    heads = fetch_objects([r.uri for r in unread], first_bytes=HEAD_BYTES)
    formats = {r.image_id: recognise_format(h.data) if h.data else None for r, h in zip(unread, heads, strict=True)}
    for row in rows:
        if row.image_id in same:
            yield known[row.image_id]
            continue
        image_format = formats.get(row.image_id)
        if image_format is None and _has_suffix(row, SIDECAR_SUFFIXES):
            counts.skipped += 1
            counts.removed += row.image_id in known
            log.debug("passed over %s: no image by name or content", row.uri)
            continue
        counts.changed += row.image_id in known
        counts.new += row.image_id not in known
        yield replace(row, format=image_format)


def _has_suffix(row: ManifestRow, suffixes: tuple[str, ...]) -> bool:
    return row.image_id.lower().endswith(suffixes)


def batched(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Consecutive lists of up to `size` items."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
