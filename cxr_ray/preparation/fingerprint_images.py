"""Compute the content hash and the perceptual hash of many images on all cores of the cluster."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import pyarrow as pa

from cxr_ray.imaging.limits import DecodeLimits

HASH_SOURCE_SIZE = 128  # height and width in pixels that suffice for a perceptual hash


@dataclass(frozen=True, kw_only=True, slots=True)
class Fingerprint:
    """Hashes of an image, or the error that prevented its decoding; one of `phash` and `error_kind` is None."""

    content_sha256: str | None
    """SHA-256 of the file, 64 hex digits; None if it was not downloaded."""
    phash: bytes | None
    """The 256 bits of the perceptual hash, packed into 32 bytes."""
    error_kind: str | None
    error: str | None


def fingerprint_images(uris: Sequence[str], limits: DecodeLimits) -> list[Fingerprint]:
    """Compute one fingerprint for each URI, in order; a Ray cluster is joined, or started if there is none."""
    import ray

    from cxr_ray.cluster.session import ray_session

    with ray_session():
        table = pa.table({"position": range(len(uris)), "uri": list(uris)})
        blocks = max(1, min(len(uris) // 64, int(ray.cluster_resources().get("CPU", 1)) * 4))
        dataset = ray.data.from_arrow(table).repartition(blocks)
        dataset.context.enable_progress_bars = False
        rows = dataset.map_batches(
            partial(_fingerprint_batch, limits=limits), batch_size=None, batch_format="pyarrow"
        ).take_all()
    rows.sort(key=lambda row: row.pop("position"))
    return [Fingerprint(**row) for row in rows]


def _fingerprint_batch(batch: pa.Table, *, limits: DecodeLimits) -> pa.Table:
    import numpy as np

    from cxr_ray.imaging.fingerprint import perceptual_hash
    from cxr_ray.imaging.load import load_images

    rows = []
    uris = batch["uri"].to_pylist()
    for image in load_images(uris, [None] * len(uris), limits=limits, wanted_sizes=(HASH_SOURCE_SIZE,)):
        decoded = image.decoded
        phash = None if decoded.pixels is None else np.packbits(perceptual_hash(decoded.pixels)).tobytes()
        row = {"content_sha256": image.content_sha256, "phash": phash}
        rows.append(row | {"error_kind": decoded.error_kind, "error": decoded.error})
    schema = pa.schema(
        [
            ("content_sha256", pa.string()),
            ("phash", pa.binary()),
            ("error_kind", pa.string()),
            ("error", pa.string()),
        ]
    )
    return pa.Table.from_pylist(rows, schema=schema).append_column("position", batch["position"])
