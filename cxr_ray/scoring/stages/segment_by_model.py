"""Second stage of segmentation by a segmenter: loaded images to masks, in an actor that holds the ensemble."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from cxr_ray.config.segmentation import MaskFiles, SegmenterSettings
from cxr_ray.models.allocator import keep_freed_memory
from cxr_ray.models.engines.engine import EngineName
from cxr_ray.models.lung_segmentation import LungFigures, lung_maps_of
from cxr_ray.models.precision import Precision, hardware_name
from cxr_ray.models.segmenter import Segmenter
from cxr_ray.schema import MAP_COLUMN, MASKS, NOT_FINITE
from cxr_ray.scoring.stages.load import Geometry, pixels_of
from cxr_ray.scoring.stages.masks_of_maps import ENTROPY_COLUMN, MAPS, MaskStage
from cxr_ray.scoring.stages.segment_outputs import OVERLAY_IMAGE, SegmentOutputs

FORWARD_BATCH = {"cpu": 8, "cuda": 64}
"""Default number of images of a forward pass by device: 8 images fit the caches of a CPU, 64 fill a GPU."""


class MapStage:
    """One ensemble on one device, for `map_batches(batch_format="pyarrow")`; usable without Ray.

    Its rows are finished by `MaskStage`, which makes masks of their maps: a device does not wait for it.

    Args:
        model_uri: absolute URI of the segmenter's bundle.
        settings: threshold and clean-up of the masks.
        files: kinds of additional files, for which a row holds what they need.
        engine: program that computes the forward pass, see `fastest_engine`.
        precision: floating-point precision of the forward pass.
        batch_size: number of images of a forward pass; None takes the value of `FORWARD_BATCH`.
        device: `cuda` or `cpu`.
        threads: number of threads of the forward pass, and of torch, on a CPU; a GPU ignores it.
        provenance: `model_id`, `preprocessing_id` and `run_id`, which are written to every row.
    """

    def __init__(
        self,
        *,
        model_uri: str,
        settings: SegmenterSettings,
        files: MaskFiles,
        engine: EngineName,
        precision: Precision,
        batch_size: int | None,
        device: str,
        threads: int,
        provenance: dict[str, str],
    ) -> None:
        if device == "cpu":
            torch.set_num_threads(threads)
            keep_freed_memory()
        self.segmenter = Segmenter(model_uri, device=device, engine=engine, precision=precision, threads=threads)
        card = self.segmenter.card
        self._geometry = Geometry(image_size=card.image_size, interpolation=card.interpolation)
        self._settings, self._files = settings, files
        self._provenance = provenance | {
            "device": hardware_name(device),
            "engine": self.segmenter.engine.name,
            "precision": self.segmenter.precision,
        }
        self._forward_batch = batch_size or FORWARD_BATCH[self.segmenter.device.type]

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Turn N rows of `LoadStage` into N rows of `MAPS`; maps of error rows are null."""
        pixels, present = pixels_of(batch, self._geometry)
        loaded = batch.select([name for name in MASKS.names if name in batch.column_names]).to_pylist()
        with_pixels = [row for row, is_present in zip(loaded, present, strict=True) if is_present]
        size = self._forward_batch
        for part in (slice(start, start + size) for start in range(0, len(with_pixels), size)):
            self._segment(with_pixels[part], pixels[part])
        provenance = self._provenance | {"scored_at": datetime.now(UTC)}
        rows = pa.Table.from_pylist([row | provenance for row in loaded], schema=MAPS)
        if self._files.save_overlays:
            rows = rows.append_column(OVERLAY_IMAGE.column, batch[OVERLAY_IMAGE.column])
        return rows

    def _segment(self, rows: list[dict[str, Any]], pixels: np.ndarray) -> None:
        """Segment K images, and add the maps and the columns of boxes and lungs to their rows.

        Args:
            rows: K rows of images that have pixels; they are changed in place.
            pixels: uint8 [K, S, S].
        """
        settings = self._settings
        found = lung_maps_of(
            self.segmenter.predict(pixels),
            [(row["height"], row["width"]) for row in rows],
            foreground=settings.foreground,
            components=settings.components,
            min_area=settings.min_area,
        )
        for row, lungs in zip(rows, found, strict=True):
            if lungs is None:
                row.update(NOT_FINITE)
                continue
            row[MAP_COLUMN] = lungs.shades.tobytes()
            if self._files.save_uncertainty:
                row[ENTROPY_COLUMN] = lungs.entropy.tobytes()
            row["boxes_xyxy"] = lungs.boxes_xyxy.tolist()
            row.update(lung_columns(lungs.figures))


class SegmenterStage:
    """A `MapStage` and a `MaskStage` in one process, for `map_batches(batch_format="pyarrow")`; usable without Ray.

    Args:
        settings: threshold and clean-up of the masks.
        outputs: writes the additional files of each image.
        arguments: further keyword arguments of `MapStage`.
    """

    def __init__(self, *, settings: SegmenterSettings, outputs: SegmentOutputs, **arguments: Any) -> None:
        self._maps = MapStage(settings=settings, files=outputs.files, **arguments)
        self._masks = MaskStage(settings=settings, outputs=outputs)
        self.segmenter = self._maps.segmenter

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Turn N rows of `LoadStage` into N rows of `schema.MASKS`; masks of error rows are null."""
        return self._masks(self._maps(batch))


def lung_columns(segmentation: LungFigures) -> dict[str, Any]:
    """Return the mask's uncertainty and the columns of `schema.LUNG_FIELDS`, except those of a missing lung."""
    columns: dict[str, Any] = {"uncertainty": segmentation.uncertainty, "symmetry": segmentation.symmetry}
    for side, lung in (("right", segmentation.right), ("left", segmentation.left)):
        if lung is not None:
            columns |= {
                f"{side}_area_fraction": lung.area_fraction,
                f"{side}_centroid_x": lung.centroid_xy[0],
                f"{side}_centroid_y": lung.centroid_xy[1],
                f"{side}_uncertainty": lung.uncertainty,
            }
    return columns
