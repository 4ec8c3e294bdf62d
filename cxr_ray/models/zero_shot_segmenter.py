"""Radiographs to masks by text: BiomedCLIP -> M2IB saliency -> coarse mask -> SAM. Plain torch, one device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from cxr_ray.config.segmentation import TextSettings
from cxr_ray.models.biomedclip import BiomedClip, PromptTokenizer, clip_input
from cxr_ray.models.coarse_mask import coarse_masks, draw_points, to_image_scale
from cxr_ray.models.m2ib import M2ib
from cxr_ray.models.sam import Sam, SamMasks


@dataclass(frozen=True, kw_only=True, slots=True)
class Segmentation:
    """The mask of one image, at its original size.

    Attributes:
        mask: bool [H, W]; all false where nothing was found.
        boxes_xyxy: float32 [n, 4], of the pieces of the coarse mask, in pixels of the image: x0, y0, x1, y1.
        iou_prediction: mean of SAM's own estimates over the prompts; None without one.
        saliency: float32 [S, S] in 0 to 1, the whole frame squashed.
    """

    mask: np.ndarray
    boxes_xyxy: np.ndarray
    iou_prediction: float | None
    saliency: np.ndarray


class ZeroShotSegmenter:
    """What a sentence means in a radiograph, as a mask.

    Every prompt is encoded once. The full frame is squashed to CLIP's square, so that a map covers the whole image:
    a centre crop's map, stretched over the image, would misregister whatever is not square.

    Args:
        clip: on the device that is used.
        tokenizer: of its vocabulary.
        sam: on the same device; its precision is that of both models.
        settings: prompts, bottleneck, thresholds and what SAM is shown.
    """

    def __init__(self, clip: BiomedClip, tokenizer: PromptTokenizer, sam: Sam, settings: TextSettings) -> None:
        self.sam, self._settings = sam, settings
        self.clip = clip.to(sam.device)
        self.clip_size = clip.config.image_size
        self._to_input = clip_input(sam.device)
        self._m2ib = M2ib(
            self.clip,
            layer=settings.layer,
            steps=settings.steps,
            draws=settings.draws,
            seed=settings.seed,
            precision=sam.precision,
        )
        self._text = self._encoded(tokenizer, settings.prompts)
        self._class_texts = {
            label: self._encoded(tokenizer, prompts) for label, prompts in settings.class_prompts.items()
        }

    @torch.no_grad()
    def _encoded(self, tokenizer: PromptTokenizer, prompts: Sequence[str]) -> torch.Tensor:
        """Mean feature of sentences, float32 [D] of L2 norm 1."""
        features = self.clip.encode_text(tokenizer.tokenise(prompts).to(self.sam.device))
        return functional.normalize(features.mean(0), dim=0)

    def saliency(
        self, frames: np.ndarray, image_ids: Sequence[str], labels: Sequence[str | None] | None = None
    ) -> torch.Tensor:
        """Maps float32 [B, S, S] in 0 to 1, on the device.

        Args:
            frames: uint8 [B, S, S], whole images squashed to CLIP's square.
            image_ids: B ids, which seed the noise.
            labels: B classes; those with prompts of their own in the settings are looked at by them, others by `prompts`.
        """
        texts = torch.stack(
            [self._class_texts.get(label or "", self._text) for label in labels or [None] * len(frames)]
        )
        grey = self._to_input.on_device(frames)
        if frames.shape[1] != self.clip_size:
            size = (self.clip_size, self.clip_size)
            grey = functional.interpolate(grey, size, mode="bicubic", antialias=True).clamp(0, 255)
        return self._m2ib.saliency(
            self._to_input.normalised(grey), texts, image_ids, beta=self._settings.beta, size=self.clip_size
        )

    def segment(
        self,
        frames: np.ndarray,
        images: Sequence[np.ndarray],
        sizes: Sequence[tuple[int, int]],
        image_ids: Sequence[str],
        labels: Sequence[str | None] | None = None,
    ) -> list[Segmentation]:
        """Masks of B images.

        Args:
            frames: uint8 [B, S, S], the images squashed to CLIP's square.
            images: uint8 [h, w] each, the same images with their proportions; SAM looks at no more than its own size.
            sizes: original height and width of each, at which masks are given.
            image_ids: B ids, which seed noise and points.
            labels: as of `saliency`.
        """
        settings = self._settings
        maps = self.saliency(frames, image_ids, labels)
        coarse = coarse_masks(
            maps,
            method=settings.threshold,
            fixed_threshold=settings.fixed_threshold,
            keep=settings.components,
            min_area_share=settings.min_area,
        )
        found = [position for position, boxes in enumerate(coarse.boxes_xyxy) if len(boxes)]
        embeddings = dict(zip(found, self.sam.encode([images[position] for position in found]), strict=True))
        results = []
        for i, (size, image_id, saliency) in enumerate(zip(sizes, image_ids, maps.cpu().numpy(), strict=True)):
            boxes, masks = coarse.boxes_xyxy[i], None
            if i in embeddings:
                boxes, masks = self._decoded(embeddings[i], coarse.components[i], boxes, size, image_id)
            results.append(
                Segmentation(
                    mask=masks.union if masks else np.zeros(size, bool),
                    boxes_xyxy=boxes,
                    iou_prediction=float(masks.iou_prediction.mean()) if masks else None,
                    saliency=saliency,
                )
            )
        return results

    def _decoded(
        self, embedding: torch.Tensor, components: np.ndarray, boxes: np.ndarray, size: tuple[int, int], image_id: str
    ) -> tuple[np.ndarray, SamMasks]:
        """Boxes in pixels of the image, and what SAM makes of the prompts that the settings ask for."""
        settings = self._settings
        if settings.one_box:
            boxes = np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])[None]
            components = (components > 0).astype(np.uint8)
        boxes = to_image_scale(boxes, self.clip_size, *size)
        points, labels = draw_points(
            components, image_id, count=settings.points, background_count=settings.background_points
        )
        is_pointed = settings.prompt_kind != "boxes"
        masks = self.sam.decode(
            embedding,
            size,
            boxes=None if settings.prompt_kind == "points" else boxes,
            points=to_image_scale(points, self.clip_size, *size) if is_pointed else None,
            point_labels=labels if is_pointed else None,
            multimask=settings.multimask,
        )
        return boxes, masks
