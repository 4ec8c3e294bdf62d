"""First stage: rows of (image_id, uri, size_bytes) to decoded, resized uint8 pixels; one row each, always."""

import hashlib
import hmac
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import pyarrow as pa

from cxr_ray.imaging.decode import DecodeLimits
from cxr_ray.imaging.load import LoadedImage, load_images
from cxr_ray.imaging.resize import resize_image
from cxr_ray.schema import DICOM_FIELDS, IMAGE_FIELDS

ROWS_AT_ONCE = 256
LOADED_SCHEMA = pa.schema([*IMAGE_FIELDS, *DICOM_FIELDS])


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """The pixels that a model wants."""

    image_size: int
    interpolation: str

    @property
    def column(self) -> str:
        """Column of these pixels: fixed-size binary, uint8 [image_size, image_size] row by row, null for an error."""
        return f"pixels_{self.image_size}_{self.interpolation}"


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadStage:
    """Download, decode and resize, for `map_batches(batch_format="pyarrow")`; usable without Ray."""

    geometries: tuple[Geometry, ...]
    limits: DecodeLimits
    patient_key_secret: bytes

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Tables of up to 256 rows: the result columns that loading fills, and one of pixels per geometry."""
        ids, uris = block["image_id"].to_pylist(), block["uri"].to_pylist()
        wanted = max(g.image_size for g in self.geometries)
        images = load_images(uris, block["size_bytes"].to_pylist(), limits=self.limits, wanted_size=wanted)
        rows = ((i, u, image, self._resized(image)) for i, u, image in zip(ids, uris, images, strict=True))
        while batch := list(islice(rows, ROWS_AT_ONCE)):
            yield self._table(batch)

    def _resized(self, image: LoadedImage) -> list[bytes | None]:
        pixels = image.decoded.pixels
        if pixels is None:
            return [None] * len(self.geometries)
        return [resize_image(pixels, g.image_size, g.interpolation).tobytes() for g in self.geometries]

    def _table(self, batch: list[tuple[str, str, LoadedImage, list[bytes | None]]]) -> pa.Table:
        table = pa.Table.from_pylist([self._row(i, u, image) for i, u, image, _ in batch], schema=LOADED_SCHEMA)
        for position, geometry in enumerate(self.geometries):
            pixels = pa.array([resized[position] for *_, resized in batch], pa.binary(geometry.image_size**2))
            table = table.append_column(geometry.column, pixels)
        return table

    def _row(self, image_id: str, uri: str, image: LoadedImage) -> dict[str, object]:
        decoded, tags = image.decoded, image.decoded.dicom
        row: dict[str, object] = {
            "image_id": image_id,
            "uri": uri,
            "status": "ok" if decoded.pixels is not None else "error",
            "error_kind": decoded.error_kind,
            "error": decoded.error,
            "format": decoded.format,
            "width": decoded.width,
            "height": decoded.height,
            "content_sha256": image.content_sha256,
        }
        if tags is not None:
            row |= {
                name: getattr(tags, name)
                for name in ("modality", "view_position", "study_uid", "series_uid", "sop_uid")
            }
            row["patient_key"] = patient_key(tags.patient_id, self.patient_key_secret)
        return row


def patient_key(patient_id: str | None, secret: bytes) -> str | None:
    """Keyed hash (HMAC-SHA256, 16 hex digits) of a raw patient id; without the secret it cannot be guessed back."""
    if not patient_id:
        return None
    return hmac.new(secret, patient_id.encode(), hashlib.sha256).hexdigest()[:16]


def pixels_of(table: pa.Table, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [K, size, size] of the K rows that have any, without a copy where all have, and bool [N]: which."""
    chunks = table[geometry.column].chunks or [pa.array([], table.schema.field(geometry.column).type)]
    column = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)  # combine_chunks would copy a single one
    present = column.is_valid().to_numpy(zero_copy_only=False)
    size = geometry.image_size
    start = column.offset * size * size
    flat = np.frombuffer(column.buffers()[1], np.uint8)[start : start + len(column) * size * size]
    pixels = flat.reshape(-1, size, size)
    return (pixels if present.all() else pixels[present]), present
