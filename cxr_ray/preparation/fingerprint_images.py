"""Compute the content hash and the perceptual hash of many images on all cores of the cluster."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from cxr_ray.imaging.limits import DecodeLimits

HASH_SOURCE_SIZE = 128  # height and width in pixels that suffice for a perceptual hash
HASH_BYTES = 32
ROW = pa.schema(
    [
        ("position", pa.int64()),
        ("content_sha256", pa.string()),
        ("phash", pa.binary()),
        ("error_kind", pa.string()),
        ("error", pa.string()),
    ]
)
"""Columns of the result of one image; `phash` or `error_kind` is null."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprints:
    """Hashes of N images, in the order of the images; those of an image with an error are no hashes of it."""

    contents: list[str]
    """SHA-256 of each file, 64 hex digits; empty if it was not downloaded."""
    hashes: np.ndarray
    """Perceptual hash of each image, uint64 [N, 4]."""
    errors: dict[int, str]
    """Position -> kind and text of the error that prevented the decoding of an image."""


def fingerprint_images(uris: Sequence[str], limits: DecodeLimits) -> Fingerprints:
    """Compute the fingerprints of images; a Ray cluster is joined, or started if there is none.

    Results arrive as a stream, of which the hashes alone are kept: about 200 bytes for an image.
    """
    import ray

    from cxr_ray.cluster.session import ray_session

    with ray_session():
        table = pa.table({"position": range(len(uris)), "uri": list(uris)})
        blocks = max(1, min(len(uris) // 64, int(ray.cluster_resources().get("CPU", 1)) * 4))
        dataset = ray.data.from_arrow(table).repartition(blocks)
        dataset.context.enable_progress_bars = False
        results = dataset.map_batches(
            partial(_fingerprint_batch, limits=limits), batch_size=None, batch_format="pyarrow"
        )
        return collect(results.iter_batches(batch_size=None, batch_format="pyarrow"), len(uris))


def fingerprint_here(uris: Sequence[str], limits: DecodeLimits) -> Fingerprints:
    """Compute the fingerprints of images in this process, without Ray."""
    table = pa.table({"position": range(len(uris)), "uri": list(uris)})
    return collect([_fingerprint_batch(table, limits=limits)], len(uris))


def collect(batches: Iterable[pa.Table], count: int) -> Fingerprints:
    """Collect the rows of `_fingerprint_batch` about `count` images, which come in any order.

    Raises:
        RuntimeError: if an image has no row or several.
    """
    prints = Fingerprints(contents=[""] * count, hashes=np.zeros((count, HASH_BYTES // 8), np.uint64), errors={})
    packed, seen = prints.hashes.view(np.uint8), np.zeros(count, np.int64)
    for batch in batches:
        for position, content, phash, kind, error in zip(*(batch[name].to_pylist() for name in ROW.names), strict=True):
            seen[position] += 1
            prints.contents[position] = content or ""
            if phash is None:
                prints.errors[position] = f"{kind}: {error}"
            else:
                packed[position] = np.frombuffer(phash, np.uint8)
    if not (seen == 1).all():
        raise RuntimeError(f"{(seen != 1).sum()} of {count} images have no fingerprint or several")
    return prints


def _fingerprint_batch(batch: pa.Table, *, limits: DecodeLimits) -> pa.Table:
    from cxr_ray.imaging.fingerprint import perceptual_hash
    from cxr_ray.imaging.load import load_images

    rows = []
    uris = batch["uri"].to_pylist()
    images = load_images(uris, [None] * len(uris), limits=limits, wanted_sizes=(HASH_SOURCE_SIZE,))
    for position, image in zip(batch["position"].to_pylist(), images, strict=True):
        decoded = image.decoded
        phash = None if decoded.pixels is None else np.packbits(perceptual_hash(decoded.pixels)).tobytes()
        row = {"position": position, "content_sha256": image.content_sha256, "phash": phash}
        rows.append(row | {"error_kind": decoded.error_kind, "error": decoded.error})
    return pa.Table.from_pylist(rows, schema=ROW)
