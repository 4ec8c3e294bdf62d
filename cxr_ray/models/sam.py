"""SAM: each grey radiograph is encoded once, in batches, and any number of boxes and points are decoded to masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from cxr_ray.config.backbones import IMAGENET_MEAN, IMAGENET_STD
from cxr_ray.models.grey_input import GreyInput
from cxr_ray.models.light_import import import_without_compiler
from cxr_ray.models.precision import Precision, autocast, chosen_precision

if TYPE_CHECKING:
    from segment_anything.modeling import Sam as SamModel

PATCH_SIZE = 16
WINDOW_SIZE = 14


@dataclass(frozen=True, kw_only=True, slots=True)
class SamConfig:
    """Sizes in which SAM models differ; tests use tiny ones.

    Attributes:
        encoder_depth: number of blocks of the image encoder.
        encoder_embed_dim: width of the encoder's blocks, a multiple of `encoder_num_heads`.
        encoder_num_heads: number of attention heads of a block.
        encoder_global_attn_indexes: indexes of the blocks that attend to the whole image; all others attend to windows
            of 14 x 14 patches.
        prompt_embed_dim: width of the embeddings and of the decoder, a multiple of 16.
        image_size: height and width of the input in pixels, a multiple of 16.
    """

    encoder_depth: int
    encoder_embed_dim: int
    encoder_num_heads: int
    encoder_global_attn_indexes: tuple[int, ...]
    prompt_embed_dim: int = 256
    image_size: int = 1024


SAM_CONFIGS = {
    "vit_b": SamConfig(
        encoder_depth=12, encoder_embed_dim=768, encoder_num_heads=12, encoder_global_attn_indexes=(2, 5, 8, 11)
    ),
    "vit_l": SamConfig(
        encoder_depth=24, encoder_embed_dim=1024, encoder_num_heads=16, encoder_global_attn_indexes=(5, 11, 17, 23)
    ),
    "vit_h": SamConfig(
        encoder_depth=32, encoder_embed_dim=1280, encoder_num_heads=16, encoder_global_attn_indexes=(7, 15, 23, 31)
    ),
}


def build_sam(config: SamConfig) -> "SamModel":
    """Build a SAM with random weights in eval mode, assembled as `segment_anything.sam_model_registry` does."""
    import_without_compiler("segment_anything")
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, TwoWayTransformer
    from segment_anything.modeling import Sam as SamModel

    grid, width = config.image_size // PATCH_SIZE, config.prompt_embed_dim
    encoder = ImageEncoderViT(
        depth=config.encoder_depth,
        embed_dim=config.encoder_embed_dim,
        img_size=config.image_size,
        norm_layer=lambda size: torch.nn.LayerNorm(size, eps=1e-6),
        num_heads=config.encoder_num_heads,
        patch_size=PATCH_SIZE,
        use_rel_pos=True,
        global_attn_indexes=config.encoder_global_attn_indexes,
        window_size=WINDOW_SIZE,
        out_chans=width,
    )
    prompts = PromptEncoder(
        embed_dim=width, image_embedding_size=(grid, grid), input_image_size=2 * (config.image_size,), mask_in_chans=16
    )
    transformer = TwoWayTransformer(depth=2, embedding_dim=width, mlp_dim=2048, num_heads=8)
    decoder = MaskDecoder(transformer_dim=width, transformer=transformer, num_multimask_outputs=3)
    return SamModel(encoder, prompts, decoder).eval()


@dataclass(frozen=True, kw_only=True, slots=True)
class SamMasks:
    """Masks that SAM decodes for the n prompts of one image.

    Attributes:
        masks: bool [n, H, W], one mask per prompt, in pixels of the original image.
        iou_prediction: float32 [n], SAM's own estimate of each mask's IoU with the object that the prompt means.
    """

    masks: np.ndarray
    iou_prediction: np.ndarray

    @property
    def union(self) -> np.ndarray:
        """Union of all masks, bool [H, W]; all False without a prompt."""
        return np.asarray(self.masks.any(0))


class Sam:
    """A SAM on one device.

    Args:
        model: a model of `build_sam`, or of `segment_anything` itself.
        device: `cpu`, `cuda` or `cuda:N`; None takes a GPU if there is one, else the CPU.
        precision: precision of the encoder; `auto` takes bf16 where the device has instructions for it, else fp32. The
            decoder, which is small, always runs in fp32.
        model_id: name of the model in outputs.
    """

    def __init__(
        self, model: "SamModel", *, device: str | None = None, precision: Precision = "auto", model_id: str = "sam"
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.precision = chosen_precision(self.device, precision)
        self.model = model.eval().requires_grad_(False).to(self.device)
        self.model_id = model_id
        self.image_size = int(model.image_encoder.img_size)
        if self.device.type == "cuda":
            from cxr_ray.models.sam_attention import save_memory

            save_memory(model.image_encoder)
        # SAM's mean and deviation are ImageNet's, times 255
        self.to_input = GreyInput(IMAGENET_MEAN, IMAGENET_STD, self.device, torch.contiguous_format)

    def encode(self, images: Sequence[np.ndarray]) -> torch.Tensor:
        """Encode images to embeddings, in one pass for the batch.

        Args:
            images: B images uint8 [H, W], each of any size.

        Returns:
            float32 [B, C, G, G] on the device, with C = `prompt_embed_dim` and G = `image_size` / 16; C is 256 and G
            is 64 for the published models.

        Raises:
            ValueError: if an image is not uint8 [H, W], or has no pixels.
        """
        for image in images:
            if image.dtype != np.uint8 or image.ndim != 2 or not image.size:
                raise ValueError(f"an image must be uint8 [H, W]; got {image.dtype} {list(image.shape)}")
        prompts = self.model.prompt_encoder
        if not images:
            return torch.zeros((0, prompts.embed_dim, *prompts.image_embedding_size), device=self.device)
        with torch.inference_mode():
            inputs = torch.cat([self._input_of(image) for image in images])
            with autocast(self.device, self.precision):
                embeddings: torch.Tensor = self.model.image_encoder(inputs)
            return embeddings.float()

    def decode(
        self,
        embedding: torch.Tensor,
        original_size: tuple[int, int],
        *,
        boxes: np.ndarray | None = None,
        points: np.ndarray | None = None,
        point_labels: np.ndarray | None = None,
        multimask: bool = False,
    ) -> SamMasks:
        """Decode a mask for each prompt of one image, all in one pass.

        A prompt is a box, k points, or both. SAM's decoder takes one image at a time; it is small compared with the
        encoder.

        Args:
            embedding: float32 [C, G, G], the image's embedding from `encode`.
            original_size: height and width of the original image in pixels.
            boxes: float [n, 4], x0, y0, x1, y1 in pixels of the original image.
            points: float [n, k, 2], x before y, in pixels of the original image.
            point_labels: int [n, k], 1 on the object, 0 off it, -1 for padding that is no point; None means all 1.
            multimask: True decodes three candidates per prompt and takes the one with the highest predicted IoU; False
                takes SAM's single mask, which is meant for unambiguous prompts.

        Raises:
            ValueError: if shapes do not fit each other, or there is neither a box nor a point.
        """
        points, point_labels = _checked_prompts(boxes, points, point_labels)
        if not len(boxes if boxes is not None else points):  # type: ignore[arg-type]
            return SamMasks(masks=np.zeros((0, *original_size), bool), iou_prediction=np.zeros(0, np.float32))
        with torch.inference_mode():
            sparse, dense = self._embedded_prompts(original_size, boxes, points, point_labels)
            logits, iou = self.model.mask_decoder(
                image_embeddings=embedding.unsqueeze(0).float(),
                image_pe=self.model.prompt_encoder.get_dense_pe(),
                sparse_prompt_embeddings=sparse,
                dense_prompt_embeddings=dense,
                multimask_output=multimask,
            )
            rows, best = torch.arange(len(iou), device=iou.device), iou.argmax(1)
            logits, iou = logits[rows, best].unsqueeze(1), iou[rows, best]
            upscaled = self.model.postprocess_masks(logits, self._input_size(original_size), original_size)
            masks = (upscaled > self.model.mask_threshold).squeeze(1)
        return SamMasks(masks=masks.cpu().numpy(), iou_prediction=iou.float().cpu().numpy())

    def _input_size(self, original_size: tuple[int, int]) -> tuple[int, int]:
        """Height and width to which an image is resized before it is padded; its longest side becomes `image_size`."""
        from segment_anything.utils.transforms import ResizeLongestSide

        height, width = ResizeLongestSide.get_preprocess_shape(*original_size, self.image_size)
        return max(height, 1), max(width, 1)  # the width of a very thin strip would round to 0 pixels

    def _input_of(self, image: np.ndarray) -> torch.Tensor:
        """Input of the encoder, float32 [1, 3, image_size, image_size], of uint8 [H, W], padded below and to the right."""
        grey = self.to_input.on_device(image[None])
        height, width = self._input_size(image.shape)
        if (height, width) != image.shape:
            # Pillow resized the images that SAM learned from: along x, then y, with halves rounded up each time
            for size in ((image.shape[0], width), (height, width)):
                resized = functional.interpolate(grey, size, mode="bilinear", align_corners=False, antialias=True)
                grey = (resized + 0.5).floor()
        padding = (0, self.image_size - width, 0, self.image_size - height)
        return functional.pad(self.to_input.normalised(grey), padding)

    def _embedded_prompts(
        self,
        original_size: tuple[int, int],
        boxes: np.ndarray | None,
        points: np.ndarray | None,
        point_labels: np.ndarray | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Sparse [n, tokens, C] and dense [n, C, G, G] embeddings of prompts in pixels of the original image."""
        from segment_anything.utils.transforms import ResizeLongestSide

        transform = ResizeLongestSide(self.image_size)
        box_inputs, point_inputs = None, None
        if boxes is not None:
            box_inputs = self._floats(transform.apply_boxes(boxes, original_size))
        if points is not None:
            scaled = self._floats(transform.apply_coords(points, original_size))
            point_inputs = scaled, torch.as_tensor(point_labels, dtype=torch.int, device=self.device)
        sparse, dense = self.model.prompt_encoder(points=point_inputs, boxes=box_inputs, masks=None)
        return sparse, dense

    def _floats(self, coordinates: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(coordinates, dtype=torch.float32, device=self.device)


def _checked_prompts(
    boxes: np.ndarray | None, points: np.ndarray | None, point_labels: np.ndarray | None
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Check the shapes of prompts; return the points and their labels, which are 1 if `point_labels` is None."""
    if boxes is None and points is None:
        raise ValueError("a prompt needs a box or points; got neither")
    if boxes is not None and (boxes.ndim != 2 or boxes.shape[1] != 4):
        raise ValueError(f"boxes must be [n, 4]; got {list(boxes.shape)}")
    if points is None:
        return None, None
    if points.ndim != 3 or points.shape[2] != 2:
        raise ValueError(f"points must be [n, k, 2]; got {list(points.shape)}")
    if boxes is not None and len(boxes) != len(points):
        raise ValueError(
            f"boxes and points must belong to the same prompts; got {len(boxes)} boxes for {len(points)} sets of points"
        )
    labels = np.ones(points.shape[:2], np.int32) if point_labels is None else point_labels
    if labels.shape != points.shape[:2]:
        raise ValueError(f"point_labels must be {list(points.shape[:2])}, one per point; got {list(labels.shape)}")
    return points, labels
