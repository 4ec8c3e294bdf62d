"""First stage of every pipeline: download, decode and resize images to uint8 pixels; each image gives one row."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import numpy as np
import pyarrow as pa

from cxr_ray.config.redaction import redacted
from cxr_ray.imaging.decode import DecodedImage
from cxr_ray.imaging.dicom import DicomTags
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.load import LoadedImage, load_images
from cxr_ray.imaging.quality.flags import quality_flags
from cxr_ray.imaging.quality.orientation import OrientationModel
from cxr_ray.imaging.resize import resize_image, resize_to, size_within
from cxr_ray.schema import loaded_schema
from cxr_ray.scoring.patient_secret import PatientSecret

ROWS_AT_ONCE = 256
"""Maximum number of rows of a table that the stage yields."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Geometry:
    """Size and interpolation of the pixels that a model takes.

    Attributes:
        image_size: side of the square in pixels; with fit `within`, the maximum length of the longer side.
        interpolation: one of `INTERPOLATIONS`.
        fit: `square` stretches the image to a square, `within` keeps its proportions and never enlarges it.
    """

    image_size: int
    interpolation: str
    fit: Literal["square", "within"] = "square"

    @property
    def column(self) -> str:
        """Name of the column of these pixels.

        A value holds the uint8 pixels of an image in row-major order; it is null if the image is an error.
        """
        return f"pixels_{self.image_size}_{self.interpolation}" + ("" if self.fit == "square" else "_within")

    @property
    def type(self) -> pa.DataType:
        """Arrow type of the column: a binary of fixed size if the pixels are square, a plain binary otherwise."""
        return pa.binary(self.image_size**2) if self.fit == "square" else pa.binary()

    def resized(self, image: DecodedImage) -> np.ndarray:
        """Resize a decoded image; returns uint8 [H, W].

        Raises:
            ValueError: if the image has no pixels.
        """
        if image.pixels is None or image.height is None or image.width is None:
            raise ValueError(f"an image without pixels ({image.error_kind}) cannot be resized")
        if self.fit == "square":
            return resize_image(image.pixels, self.image_size, self.interpolation)
        return resize_to(image.pixels, *size_within(image.height, image.width, self.image_size), self.interpolation)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadStage:
    """Download, decode and resize images, for `map_batches(batch_format="pyarrow")`; usable without Ray.

    Attributes:
        geometries: the geometries in which each image is needed; each gives a column of pixels.
        limits: maximum sizes of an image; a larger one becomes an error row.
        patient_secret: secret that keys the hashes of patient ids.
        orientation: weights by which inverted and rotated images are flagged; None takes those of the package.
        on_table: called for each table with its number of images, the seconds that it took, and the bytes that were read.
    """

    geometries: tuple[Geometry, ...]
    limits: DecodeLimits
    patient_secret: PatientSecret
    orientation: OrientationModel | None = None
    on_table: Callable[[int, float, int], None] | None = None

    def __call__(self, block: pa.Table) -> Iterator[pa.Table]:
        """Load the images of a block in their order.

        Args:
            block: rows with the columns `image_id`, `uri` and `size_bytes`, and any others.

        Yields:
            Tables of at most `ROWS_AT_ONCE` rows with the columns of `schema.loaded_schema`, one column of pixels per
            geometry, and the other columns of the block.
        """
        ids, uris = block["image_id"].to_pylist(), block["uri"].to_pylist()
        carried, start = block.drop_columns(["image_id", "uri", "size_bytes"]), 0
        wanted = [geometry.image_size for geometry in self.geometries]
        images = load_images(uris, block["size_bytes"].to_pylist(), limits=self.limits, wanted_sizes=wanted)
        rows = ((i, u, image, self._resized(image)) for i, u, image in zip(ids, uris, images, strict=True))
        began = time.monotonic()
        while batch := list(islice(rows, ROWS_AT_ONCE)):
            table = self._table(batch)
            for name, column in zip(carried.column_names, carried.slice(start, len(batch)).columns, strict=True):
                table = table.append_column(name, column)
            start += len(batch)
            if self.on_table is not None:
                read = sum(image.size_bytes for _, _, image, _ in batch)
                self.on_table(len(batch), time.monotonic() - began, read)
            yield table
            began = time.monotonic()

    def _resized(self, image: LoadedImage) -> list[np.ndarray]:
        """Resize an image for each geometry; [] if it has no pixels."""
        if image.decoded.pixels is None:
            return []
        return [geometry.resized(decoded) for geometry, decoded in zip(self.geometries, image.decodings, strict=True)]

    def _table(self, batch: list[tuple[str, str, LoadedImage, list[np.ndarray]]]) -> pa.Table:
        table = pa.Table.from_pylist([self._row(*loaded) for loaded in batch], schema=loaded_schema())
        for position, geometry in enumerate(self.geometries):
            pixels = pa.array(
                [resized[position].tobytes() if resized else None for *_, resized in batch], geometry.type
            )
            table = table.append_column(geometry.column, pixels)
        return table

    def _row(self, image_id: str, uri: str, image: LoadedImage, resized: list[np.ndarray]) -> dict[str, object]:
        decoded, tags = image.decoded, image.decoded.dicom
        row: dict[str, object] = {
            "image_id": image_id,
            "uri": redacted(uri),  # the row outlives the signature of a URL
            "status": "ok" if decoded.pixels is not None else "error",
            "error_kind": decoded.error_kind,
            "error": decoded.error,
            "format": decoded.format,
            "width": decoded.width,
            "height": decoded.height,
            "content_sha256": image.content_sha256,
            "qc_flags": self._flags(resized, tags),
        }
        if tags is not None:
            row |= {
                name: getattr(tags, name)
                for name in ("modality", "view_position", "study_uid", "series_uid", "sop_uid")
            }
            row["patient_key"] = self.patient_secret.key_of(tags.patient_id)
        return row

    def _flags(self, resized: list[np.ndarray], tags: DicomTags | None) -> list[str] | None:
        """Flag the quality of an image by the largest of its pixels; None if it has none."""
        if not resized:
            return None
        return quality_flags(max(resized, key=np.size), tags, model=self.orientation)


def pixels_of(table: pa.Table, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """Read the square pixels of a table of N rows; they are not copied if all rows have pixels.

    Args:
        table: rows of `LoadStage`.
        geometry: a geometry of `LoadStage` whose fit is `square`.

    Returns:
        uint8 [K, S, S], the pixels of the K rows that have any, and bool [N], true for these rows.
    """
    chunks = table[geometry.column].chunks or [pa.array([], table.schema.field(geometry.column).type)]
    column = chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)  # combine_chunks would copy a single chunk
    present = column.is_valid().to_numpy(zero_copy_only=False)
    size = geometry.image_size
    start = column.offset * size * size
    flat = np.frombuffer(column.buffers()[1], np.uint8)[start : start + len(column) * size * size]
    pixels = flat.reshape(-1, size, size)
    return (pixels if present.all() else pixels[present]), present


def images_of(table: pa.Table, geometry: Geometry) -> list[np.ndarray]:
    """Read the pixels of a geometry whose fit is `within`, without copying them.

    Args:
        table: rows of `LoadStage`.
        geometry: a geometry of `LoadStage` whose fit is `within`.

    Returns:
        A list of uint8 [H, W], one for each row that has pixels; the sizes differ.
    """
    columns = (table[name].to_pylist() for name in ("height", "width"))
    return [
        np.frombuffer(pixels.as_buffer(), np.uint8).reshape(size_within(height, width, geometry.image_size))
        for pixels, height, width in zip(table[geometry.column], *columns, strict=True)
        if pixels.is_valid
    ]
