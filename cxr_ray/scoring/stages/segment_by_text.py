"""Second stage of segmentation by text: loaded images to masks, in an actor that holds BiomedCLIP and SAM."""

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from cxr_ray.config.segmentation import TextModels, TextSettings
from cxr_ray.imaging.mask_runs import runs_of
from cxr_ray.models.precision import Precision, hardware_name
from cxr_ray.schema import MASKS, NOT_FINITE
from cxr_ray.scoring.stages.load import Geometry, images_of, pixels_of
from cxr_ray.scoring.stages.mask_columns import mask_columns
from cxr_ray.scoring.stages.segment_outputs import OVERLAY_IMAGE, SegmentOutputs

if TYPE_CHECKING:
    from cxr_ray.models.zero_shot_segmenter import Segmentation

CLIP_FRAME = Geometry(image_size=224, interpolation="bicubic")
"""Geometry for BiomedCLIP: the whole image, stretched to the square that its vision encoder takes."""
SAM_IMAGE = OVERLAY_IMAGE
"""Geometry for SAM: the image in its proportions, with a longer side of at most 1024 pixels."""


class TextStage:
    """BiomedCLIP and SAM on one device, for `map_batches(batch_format="pyarrow")`; usable without Ray.

    One actor holds both models, so intermediate results stay on the device and each model can use the whole GPU.
    Together they take 1.2 GB of memory with SAM's vit_b and 3.4 GB with vit_h.

    Args:
        models: absolute URIs of the weights of both models.
        settings: prompts, bottleneck, thresholds and the kind of SAM's prompts.
        outputs: writes the additional files of each image.
        precision: floating-point precision of both models.
        hashes: sha256 that the weights `biomedclip` and `sam` must have; weights without an entry are not checked.
        device: `cuda` or `cpu`.
        threads: number of torch threads on a CPU; a GPU ignores it.
        provenance: `model_id`, `preprocessing_id` and `run_id`, which are written to every row.
    """

    def __init__(
        self,
        *,
        models: TextModels,
        settings: TextSettings,
        outputs: SegmentOutputs,
        precision: Precision,
        hashes: dict[str, str],
        device: str,
        threads: int,
        provenance: dict[str, str],
    ) -> None:
        import torch

        from cxr_ray.models.allocator import keep_freed_memory
        from cxr_ray.models.biomedclip_checkpoint import load_biomedclip, load_tokenizer
        from cxr_ray.models.sam_weights import load_sam
        from cxr_ray.models.zero_shot_segmenter import ZeroShotSegmenter

        if device == "cpu":
            torch.set_num_threads(threads)
            keep_freed_memory()
        clip = load_biomedclip(models.clip_uri, sha256=hashes.get("biomedclip"))
        tokenizer = load_tokenizer(models.clip_uri, clip.config)
        sam = load_sam(models.sam_uri, sha256=hashes.get("sam"), device=device, precision=precision)
        self.segmenter = ZeroShotSegmenter(clip, tokenizer, sam, settings)
        done_by = {"device": hardware_name(device), "engine": "torch", "precision": sam.precision}
        self._provenance = provenance | done_by
        self._prompt = "; ".join(settings.prompts)
        self._class_prompts = {label: "; ".join(prompts) for label, prompts in settings.class_prompts.items()}
        self._outputs = outputs

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Turn N rows of `LoadStage` into N rows of `schema.MASKS`; masks of error rows are null."""
        frames, present = pixels_of(batch, CLIP_FRAME)
        loaded = batch.select([name for name in MASKS.names if name in batch.column_names]).to_pylist()
        with_pixels = [row for row, is_present in zip(loaded, present, strict=True) if is_present]
        if with_pixels:
            self._segment(with_pixels, self._labels(batch, present), frames, images_of(batch, SAM_IMAGE))
        provenance = self._provenance | {"scored_at": datetime.now(UTC)}
        return pa.Table.from_pylist([row | provenance for row in loaded], schema=MASKS)

    def _labels(self, batch: pa.Table, present: np.ndarray) -> list[str | None]:
        """Return the class of each image that has pixels; all are None if no class has prompts of its own."""
        if not self._class_prompts:
            return [None] * int(present.sum())
        return [label for label, is_present in zip(batch["label"].to_pylist(), present, strict=True) if is_present]

    def _segment(
        self, rows: list[dict[str, Any]], labels: list[str | None], frames: np.ndarray, images: list[np.ndarray]
    ) -> None:
        """Segment K images, and add the columns of masks to their rows.

        Args:
            rows: K rows of images that have pixels; they are changed in place.
            labels: K classes, which select the prompts; None selects the default prompts.
            frames: uint8 [K, S, S] in the geometry `CLIP_FRAME`.
            images: K images uint8 [h, w] in the geometry `SAM_IMAGE`.
        """
        sizes = [(row["height"], row["width"]) for row in rows]
        ids = [row["image_id"] for row in rows]
        found = self.segmenter.segment(frames, images, sizes, ids, labels)
        for row, label, image, one in zip(rows, labels, images, found, strict=True):
            if not is_finite(one):
                row.update(NOT_FINITE)
                continue
            runs = runs_of(one.mask)
            row["error"] = self._outputs.write(row, image, runs, saliency=one.saliency)
            row.update(mask_columns(runs))
            row["boxes_xyxy"], row["iou_prediction"] = one.boxes_xyxy.tolist(), one.iou_prediction
            row["prompt"] = self._class_prompts.get(label or "", self._prompt)


def is_finite(segmentation: "Segmentation") -> bool:
    """Whether the outputs of both models are finite numbers.

    Without this check, damaged weights would give an archive of empty masks.
    """
    estimate = segmentation.iou_prediction
    return bool(np.isfinite(segmentation.saliency).all()) and (estimate is None or math.isfinite(estimate))
