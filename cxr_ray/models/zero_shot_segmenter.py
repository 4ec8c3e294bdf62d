"""Masks of radiographs from prompts, on one device: BiomedCLIP -> M2IB saliency -> coarse mask -> SAM."""

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
        mask: bool [H, W]; all False if nothing was found.
        boxes_xyxy: float32 [n, 4], x0, y0, x1, y1 of the boxes of the coarse mask, in pixels of the image.
        iou_prediction: mean of SAM's predicted IoU over its prompts; None if nothing was found.
        saliency: float32 [S, S] in 0 to 1, of the whole image squashed to a square.
    """

    mask: np.ndarray
    boxes_xyxy: np.ndarray
    iou_prediction: float | None
    saliency: np.ndarray


class ZeroShotSegmenter:
    """Segmenter of whatever a sentence names in a radiograph.

    Every prompt is encoded once. The whole image is squashed to CLIP's square, so that a map covers all of it; the map
    of a centre crop, stretched over the image, would be misaligned if the image is not square.

    Args:
        clip: a BiomedCLIP, which is moved to the device of `sam`.
        tokenizer: tokeniser with the vocabulary of `clip`.
        sam: a SAM, whose device and precision are used for both models.
        settings: prompts, bottleneck, thresholds, and the kind of prompts for SAM.
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
        """Mean feature of `prompts`, float32 [D], scaled to L2 norm 1."""
        features = self.clip.encode_text(tokenizer.tokenise(prompts).to(self.sam.device))
        return functional.normalize(features.mean(0), dim=0)

    def saliency(
        self, frames: np.ndarray, image_ids: Sequence[str], labels: Sequence[str | None] | None = None
    ) -> torch.Tensor:
        """Saliency maps float32 [B, S, S] in 0 to 1, on the device, where S is CLIP's image size.

        Args:
            frames: uint8 [B, F, F], whole images squashed to a square; they are resized if F is not S.
            image_ids: B ids, which seed the noise.
            labels: class of each image; the settings' `class_prompts` serve the classes that they name, and `prompts`
                all other images.
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
        """Segment B images.

        Args:
            frames: uint8 [B, F, F], whole images squashed to a square.
            images: uint8 [h, w] each, the same images in their proportions; more pixels than SAM's input are not used.
            sizes: original height and width of each image in pixels, which are those of its mask.
            image_ids: B ids, which seed the noise and the points.
            labels: class of each image, which selects the prompts if the settings' `class_prompts` name it.
        """
        settings = self._settings
        maps = self.saliency(frames, image_ids, labels)
        coarse = coarse_masks(
            maps,
            method=settings.threshold,
            fixed_threshold=settings.fixed_threshold,
            keep=settings.components,
            min_area_fraction=settings.min_area,
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
        """Boxes in pixels of the image, and the masks that SAM decodes from the prompts that the settings ask for."""
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
