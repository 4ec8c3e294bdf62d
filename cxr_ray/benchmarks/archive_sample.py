"""Sample of an archive for measurements: a few random images of each kind, where a kind is a format and a class of sizes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.tables import iter_batches, read_schema
from cxr_ray.errors import StorageError

KIB = 2**10
SIZE_EDGES = (16 * KIB, 64 * KIB, 256 * KIB, 1024 * KIB, 4096 * KIB, 16384 * KIB)
"""Sizes in bytes at which a class of sizes ends and the next begins."""
SIZE_NAMES = ("< 16 KiB", "16-64 KiB", "64-256 KiB", "0.25-1 MiB", "1-4 MiB", "4-16 MiB", ">= 16 MiB", "size unknown")
FORMATS_BY_SUFFIX = {"jpg": "jpeg", "jpe": "jpeg", "jfif": "jpeg", "dcm": "dicom", "dic": "dicom", "tif": "tiff"}
"""Formats by suffix, where the suffix is not the name of the format."""
FEWEST = 16
"""Number of images of each kind that are sampled, even if the kind is rare."""
COLUMNS = pa.schema(
    [("image_id", pa.string()), ("uri", pa.string()), ("size_bytes", pa.int64()), ("format", pa.string())]
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Stratum:
    """One kind of images of an archive, and a random sample of them."""

    format: str
    """Format that the manifest names, or the suffix of the image's name where it names none."""
    size: str
    """Class of the size of the file, one of `SIZE_NAMES`."""
    images: int
    """Number of images of this kind in the archive."""
    sample: pa.Table
    """Random images of this kind in random order, with the columns `image_id`, `uri` and `size_bytes`."""


def sample_archive(manifest_uri: str, sample_images: int, seed: int) -> list[Stratum]:
    """Draw images of a manifest at random, from each kind at least `FEWEST` and otherwise in proportion to its images.

    The manifest is streamed once; memory holds at most `sample_images` images of each kind.

    Args:
        manifest_uri: URI of the manifest.
        sample_images: number of images to draw; many rare kinds may add some.
        seed: seed of the random numbers.

    Returns:
        The kinds, most images first.

    Raises:
        StorageError: if the manifest is missing or unreadable, lacks the column `image_id` or `uri`, or has no rows.
    """
    random, counts, kept = np.random.default_rng(seed), dict[tuple[str, str], int](), dict[tuple[str, str], pa.Table]()
    for batch in _batches(manifest_uri):
        drawn = batch.append_column("draw", pa.array(random.random(batch.num_rows)))
        for key, rows in _by_kind(drawn):
            counts[key] = counts.get(key, 0) + rows.num_rows
            kept[key] = _smallest_draws(pa.concat_tables([kept[key], rows]) if key in kept else rows, sample_images)
    if not counts:
        raise StorageError(f"manifest {manifest_uri} has no rows; make one with index_archive.py")
    total = sum(counts.values())
    strata = []
    for (kind, size), images in sorted(counts.items(), key=lambda item: -item[1]):
        wanted = max(FEWEST, round(sample_images * images / total))
        sample = _smallest_draws(kept[kind, size], wanted).select(["image_id", "uri", "size_bytes"])
        strata.append(Stratum(format=kind, size=size, images=images, sample=sample))
    return strata


def _smallest_draws(rows: pa.Table, count: int) -> pa.Table:
    """Return the `count` rows with the smallest random numbers, in the order of these: a random sample."""
    return rows.take(pc.sort_indices(rows, [("draw", "ascending")])[:count])


def _batches(manifest_uri: str) -> Iterator[pa.Table]:
    names = [name for name in COLUMNS.names if name in read_schema(manifest_uri).names]
    for name in {"image_id", "uri"} - set(names):
        raise StorageError(f"manifest {manifest_uri} has no column {name}; make one with index_archive.py")
    for batch in iter_batches(manifest_uri, names):
        table = pa.Table.from_batches([batch])
        for name in set(COLUMNS.names) - set(names):
            table = table.append_column(name, pa.nulls(table.num_rows, COLUMNS.field(name).type))
        yield table.select(COLUMNS.names).cast(COLUMNS)


def _by_kind(rows: pa.Table) -> Iterator[tuple[tuple[str, str], pa.Table]]:
    """Divide rows by kind, without a loop over rows where the manifest names the formats."""
    sizes = rows["size_bytes"]
    known = np.searchsorted(SIZE_EDGES, sizes.fill_null(0).to_numpy(), side="right")
    size_class = np.where(sizes.is_valid().to_numpy(), known, len(SIZE_NAMES) - 1)
    formats = rows["format"]
    if formats.null_count:
        by_name = pa.array([_format_of(name) for name in rows["image_id"].to_pylist()])
        formats = pc.coalesce(formats, by_name)
    coded = formats.combine_chunks().dictionary_encode()
    codes = coded.indices.to_numpy() * len(SIZE_NAMES) + size_class
    for code in np.unique(codes):
        kind, size = divmod(int(code), len(SIZE_NAMES))
        yield (coded.dictionary[kind].as_py(), SIZE_NAMES[size]), rows.filter(pa.array(codes == code))


def _format_of(image_id: str) -> str:
    suffix = PurePosixPath(image_id.lower()).suffix.removeprefix(".")
    return FORMATS_BY_SUFFIX.get(suffix, suffix or "unknown")
