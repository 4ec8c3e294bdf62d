"""Find the manifest of a job's images: a manifest that the user names, or a new listing of a prefix."""

import logging
from collections.abc import Sequence
from hashlib import blake2b

import pyarrow as pa

from cxr_ray.archive.job_outputs import list_archive
from cxr_ray.archive.manifest import write_manifest
from cxr_ray.archive.storage_check import check_objects
from cxr_ray.archive.tables import count_rows_of, iter_batches, read_schema, table_writer
from cxr_ray.archive.uris import exists
from cxr_ray.config import ArchiveJobConfig
from cxr_ray.errors import ConfigError, StorageError
from cxr_ray.scoring.output.planning import check_unique
from cxr_ray.scoring.output.state import OutputState

log = logging.getLogger("cxr_ray")


def images_of_job(config: ArchiveJobConfig, state: OutputState) -> tuple[str, int]:
    """Find the manifest of the images that a job scores: all of its input, or one shard of them.

    Returns:
        The URI of the manifest, and the number of its images.

    Raises:
        ConfigError, StorageError: as `manifest_of` and `shard_of`.
    """
    manifest, images = manifest_of(config.input_uri, state.file_uri("manifest.parquet"), config.exclude)
    return shard_of(manifest, config.shard, state.file_uri("shard.parquet")) if config.shard else (manifest, images)


def manifest_of(input_uri: str, listing_uri: str, exclude: Sequence[str] = ()) -> tuple[str, int]:
    """Find the manifest of a job's images; a prefix of images is listed first.

    Args:
        input_uri: URI of a manifest (a Parquet file or a folder of Parquet files), or of a prefix of images.
        listing_uri: URI of the Parquet file to which the listing of a prefix is written.
        exclude: shell patterns of names that the listing of a prefix leaves out.

    Returns:
        The URI of the manifest, and the number of its images.

    Raises:
        ConfigError: if `exclude` is given with a manifest.
        StorageError: if `input_uri` does not exist; a manifest has no rows, lacks the column `image_id` or `uri`, or
            names an image twice; or a prefix holds no image.
    """
    if not is_table(input_uri):
        counts = write_manifest(input_uri, listing_uri, exclude=exclude)
        log.info(
            "%s is read as a prefix: %s images, %s other files passed over",
            input_uri,
            f"{counts.images:,}",
            f"{counts.skipped:,}",
        )
        return listing_uri, counts.images
    if exclude:
        raise ConfigError(
            f"--exclude {' '.join(exclude)} needs a prefix of images and {input_uri} is a manifest; "
            "give --exclude to index_archive.py"
        )
    missing = {"image_id", "uri"} - set(read_schema(input_uri).names)
    if missing:
        raise StorageError(
            f"manifest {input_uri} has no column {', '.join(sorted(missing))}; make one with index_archive.py"
        )
    check_unique(input_uri)
    images = count_rows_of(input_uri)
    if not images:
        raise StorageError(f"manifest {input_uri} has no rows; make one with index_archive.py")
    check_objects(_two_of(input_uri))
    log.info("%s is read as a manifest: %s images", input_uri, f"{images:,}")
    return input_uri, images


def shard_of(manifest_uri: str, shard: str, target_uri: str) -> tuple[str, int]:
    """Write the images of one shard of a manifest, with all columns, to a Parquet file.

    The shard of an image depends on its `image_id` alone (a hash modulo the number of shards), so that it stays the same when
    the archive grows, and shards have nearly equal numbers of images.

    Args:
        manifest_uri: URI of the manifest of all images.
        shard: which shard of how many, such as `3/16`.
        target_uri: URI of the Parquet file to write.

    Returns:
        `target_uri`, and the number of images of the shard.

    Raises:
        StorageError: if the shard has no image, or storage fails.
    """
    number, count = map(int, shard.split("/"))
    images = 0
    with table_writer(target_uri, read_schema(manifest_uri)) as writer:
        for batch in iter_batches(manifest_uri):
            ids = batch["image_id"].to_pylist()
            of_shard = batch.filter(pa.array([_hash(image_id) % count == number - 1 for image_id in ids]))
            writer.write_batch(of_shard)
            images += of_shard.num_rows
    if not images:
        raise StorageError(f"shard {shard} of {manifest_uri} has no image; use fewer shards")
    log.info("shard %s has %s images", shard, f"{images:,}")
    return target_uri, images


def _hash(image_id: str) -> int:
    """A number of 64 bits; that of CRC-32 would put numbered names unevenly into two or four shards."""
    return int.from_bytes(blake2b(image_id.encode(), digest_size=8).digest(), "big")


def _two_of(manifest_uri: str) -> list[str]:
    """URIs of the first image of a manifest and of a later one."""
    uris = next(iter_batches(manifest_uri, ["uri"]))["uri"]
    return [uris[0].as_py(), uris[-1].as_py()]


def is_table(uri: str) -> bool:
    """Whether `uri` is a Parquet file or a folder that holds only Parquet files.

    In a folder, outputs of jobs, run records and names that start with `_` (such as Spark's `_SUCCESS`) or `.` are ignored.

    Raises:
        StorageError: if `uri` does not exist and its name does not end in `.parquet`.
    """
    if uri.endswith(".parquet"):
        return exists(uri)
    tables = 0
    for entry in list_archive(uri):  # the loop ends at the first image, so an archive is not listed twice
        top, _, below = entry.name.partition("/")
        if top.startswith("_") or (not below and _is_record(top)):
            continue
        if below or not top.endswith(".parquet"):
            if tables:
                log.warning("%s holds Parquet files and others (%s): to read a table there, give its own URI", uri, top)
            return False
        tables += 1
    return tables > 0


def _is_record(name: str) -> bool:
    return name == "run.json" or name.endswith(".run.json")
