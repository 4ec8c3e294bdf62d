"""Second stage of segmentation by a segmenter: loaded images to masks, in an actor that holds the ensemble."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from cxr_ray.config.segmentation import SegmenterSettings
from cxr_ray.models.allocator import keep_freed_memory
from cxr_ray.models.engines.engine import EngineName
from cxr_ray.models.lung_segmentation import LungSegmentation, segmentations_of
from cxr_ray.models.precision import Precision, hardware_name
from cxr_ray.models.segmenter import Segmenter
from cxr_ray.schema import MASKS, NOT_FINITE
from cxr_ray.scoring.stages.load import Geometry, images_of, pixels_of
from cxr_ray.scoring.stages.mask_columns import mask_columns
from cxr_ray.scoring.stages.segment_outputs import OVERLAY_IMAGE, SegmentOutputs

FORWARD_BATCH = {"cpu": 8, "cuda": 64}
"""Default number of images of a forward pass by device: 8 images fit the caches of a CPU, 64 fill a GPU."""


class SegmenterStage:
    """One ensemble on one device, for `map_batches(batch_format="pyarrow")`; usable without Ray.

    Args:
        model_uri: absolute URI of the segmenter's bundle.
        settings: threshold and clean-up of the masks.
        outputs: writes the additional files of each image.
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
        outputs: SegmentOutputs,
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
        self._settings, self._outputs = settings, outputs
        self._provenance = provenance | {
            "device": hardware_name(device),
            "engine": self.segmenter.engine.name,
            "precision": self.segmenter.precision,
        }
        self._forward_batch = batch_size or FORWARD_BATCH[self.segmenter.device.type]

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Turn N rows of `LoadStage` into N rows of `schema.MASKS`; masks of error rows are null."""
        pixels, present = pixels_of(batch, self._geometry)
        loaded = batch.select([name for name in MASKS.names if name in batch.column_names]).to_pylist()
        with_pixels = [row for row, is_present in zip(loaded, present, strict=True) if is_present]
        if with_pixels:
            images: list[np.ndarray | None] = [None] * len(with_pixels)
            if self._outputs.files.save_overlays:
                images = list(images_of(batch, OVERLAY_IMAGE))
            size = self._forward_batch
            for part in (slice(start, start + size) for start in range(0, len(with_pixels), size)):
                self._segment(with_pixels[part], pixels[part], images[part])
        provenance = self._provenance | {"scored_at": datetime.now(UTC)}
        return pa.Table.from_pylist([row | provenance for row in loaded], schema=MASKS)

    def _segment(self, rows: list[dict[str, Any]], pixels: np.ndarray, images: list[np.ndarray | None]) -> None:
        """Segment K images, and add the columns of masks and lungs to their rows.

        Args:
            rows: K rows of images that have pixels; they are changed in place.
            pixels: uint8 [K, S, S].
            images: K images uint8 [h, w] on which overlays are drawn, or K times None.
        """
        settings = self._settings
        found = segmentations_of(
            self.segmenter.predict(pixels),
            [(row["height"], row["width"]) for row in rows],
            foreground=settings.foreground,
            components=settings.components,
            min_area=settings.min_area,
        )
        for row, image, segmentation in zip(rows, images, found, strict=True):
            if segmentation is None:
                row.update(NOT_FINITE)
                continue
            row["error"] = self._outputs.write(row, image, segmentation.mask, uncertainty=segmentation.entropy)
            row.update(mask_columns(segmentation.mask))
            row["boxes_xyxy"] = segmentation.boxes_xyxy.tolist()
            row.update(lung_columns(segmentation))


def lung_columns(segmentation: LungSegmentation) -> dict[str, Any]:
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
