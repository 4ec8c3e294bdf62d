"""Second stage of segmentation by a student: pixels to masks and how sure they are, in an actor with the ensemble."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from cxr_ray.config.segmentation import StudentSettings
from cxr_ray.imaging.lungs import centroid_xy, lung_pair, rim_length
from cxr_ray.imaging.resize import resize_to
from cxr_ray.models.allocator import keep_freed_memory
from cxr_ray.models.coarse_mask import largest_components, to_image_scale
from cxr_ray.models.precision import Precision
from cxr_ray.models.segmenter import Segmenter, pixel_entropy
from cxr_ray.schema import MASKS, NOT_FINITE
from cxr_ray.scoring.stages.load import Geometry, images_of, pixels_of
from cxr_ray.scoring.stages.mask_columns import mask_columns
from cxr_ray.scoring.stages.segment_outputs import OVERLAY_IMAGE, SegmentOutputs

FORWARD_BATCH = {"cpu": 8, "cuda": 64}
"""Images that the networks see at once where no batch size is asked for: what suits the caches of a CPU, or fills a GPU."""


class StudentStage:
    """One ensemble on one device, for `map_batches(batch_format="pyarrow")`; usable without Ray.

    Args:
        model_uri: of the bundle; absolute.
        settings: threshold and clean-up.
        outputs: writes the files beside the rows.
        precision: of the forward pass.
        batch_size: images a forward pass; what suits the device if None.
        device: `cuda` or `cpu`.
        threads: torch threads on a CPU.
        provenance: `model_id`, `preprocessing_id` and `run_id` of every row.
    """

    def __init__(
        self,
        *,
        model_uri: str,
        settings: StudentSettings,
        outputs: SegmentOutputs,
        precision: Precision,
        batch_size: int | None,
        device: str,
        threads: int,
        provenance: dict[str, str],
    ) -> None:
        if device == "cpu":
            torch.set_num_threads(threads)
            keep_freed_memory()
        self.segmenter = Segmenter(model_uri, device=device, precision=precision)
        card = self.segmenter.card
        self._geometry = Geometry(image_size=card.image_size, interpolation=card.interpolation)
        self._settings, self._outputs, self._provenance = settings, outputs, provenance
        self._forward_batch = batch_size or FORWARD_BATCH[self.segmenter.device.type]

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Loaded rows to rows of `schema.MASKS`; rows with an error keep null masks."""
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
        """Fill the columns of masks and lungs into K rows.

        Args:
            rows: of loaded images.
            pixels: uint8 [K, S, S].
            images: uint8 [h, w] each, for overlays.
        """
        settings = self._settings
        probability = self.segmenter.predict(pixels)
        if not bool(probability.isfinite().all()):
            probability = self._refused(rows, probability)
        foreground = probability > settings.foreground
        kept = largest_components(foreground, keep=settings.components, min_area_share=settings.min_area)
        cleaned = torch.where(foreground & ~kept.masks, 0.0, probability)
        shades = (cleaned * 255).round().byte().cpu().numpy()
        entropy = pixel_entropy(probability).cpu().numpy()
        for i, (row, image) in enumerate(zip(rows, images, strict=True)):
            if row["status"] == "error":
                continue
            height, width = row["height"], row["width"]
            mask = resize_to(shades[i], height, width) > 255 * settings.foreground
            row["error"] = self._outputs.write(row, image, mask, uncertainty=entropy[i])
            row.update(mask_columns(mask))
            row["boxes_xyxy"] = to_image_scale(kept.boxes_xyxy[i], shades.shape[1], height, width).tolist()
            row.update(lung_columns(kept.components[i], entropy[i], height, width))

    def _refused(self, rows: list[dict[str, Any]], probability: torch.Tensor) -> torch.Tensor:
        """Turn rows whose probabilities are no finite numbers into errors; theirs become 0."""
        finite = probability.isfinite().flatten(1).all(1)
        for row, is_finite in zip(rows, finite.tolist(), strict=True):
            if not is_finite:
                row.update(NOT_FINITE)
        return torch.where(finite.view(-1, 1, 1), probability, 0.0)


def lung_columns(components: np.ndarray, entropy: np.ndarray, height: int, width: int) -> dict[str, Any]:
    """Uncertainty of the whole, and the columns of `schema.LUNG_FIELDS`, of one image.

    Uncertainty is the sum of the pixels' entropy over the length of the mask's rim, both at the student's resolution: a
    sure student has but a thin seam of doubt. A lung's is that of its half of the image.

    Args:
        components: uint8 [S, S], the pieces of the mask, the largest first.
        entropy: float32 [S, S] in nats.
        height: of the image; centroids are in its pixels.
        width: likewise.
    """
    pair = lung_pair(components)
    columns: dict[str, Any] = {"uncertainty": _doubt(entropy, components > 0), "symmetry": pair.symmetry}
    centroids = {side: centroid_xy(region) for side, region in (("right", pair.right), ("left", pair.left))}
    both = [centroid for centroid in centroids.values() if centroid]
    middle = round(np.mean([x for x, _ in both]) * entropy.shape[1]) if len(both) == 2 else None
    for side, region, half in (
        ("right", pair.right, slice(None, middle)),
        ("left", pair.left, slice(middle, None)),
    ):
        if centroid := centroids[side]:
            columns |= {
                f"{side}_area_fraction": float(region.mean()),
                f"{side}_centroid_x": centroid[0] * width,
                f"{side}_centroid_y": centroid[1] * height,
                f"{side}_uncertainty": _doubt(entropy[:, half], region),
            }
    return columns


def _doubt(entropy: np.ndarray, region: np.ndarray) -> float:
    """Entropy in nats over the pixels of the region's rim; over one where there is no region."""
    return float(entropy.sum(dtype=np.float64)) / max(1, rim_length(region))
