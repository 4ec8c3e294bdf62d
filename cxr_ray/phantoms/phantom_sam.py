"""Train a small SAM on chest phantoms, in about 20 seconds, to segment the lung in a rough box."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from cxr_ray.archive.uris import write_bytes
from cxr_ray.config.backbones import IMAGENET_MEAN, IMAGENET_STD
from cxr_ray.imaging.resize import resize_to
from cxr_ray.models.grey_input import GreyInput
from cxr_ray.models.sam import SamConfig, build_sam
from cxr_ray.phantoms.phantom import Phantom
from cxr_ray.phantoms.phantom_models import LEFT, RIGHT, descend, lung_sides

if TYPE_CHECKING:
    from segment_anything.modeling import Sam as SamModel

PHANTOM_SAM = SamConfig(
    encoder_depth=3,
    encoder_embed_dim=64,
    encoder_num_heads=2,
    # All blocks are global, because windows of 14 x 14 patches would pad 16 x 16 patches to three times their number.
    encoder_global_attn_indexes=(0, 1, 2),
    prompt_embed_dim=32,
    image_size=256,
)
LOGIT_STRIDE = 4
"""Height and width in input pixels of the square that one logit of SAM's decoder covers."""
BOX_JITTER = 0.08
"""Maximum shift of a box's edge, as a fraction of the image's side: a little more than one patch of CLIP."""
CUT_PROBABILITY, MAX_CUT = 0.3, 0.4
"""Probability that the top or bottom of a box is moved further, and the maximum move as a fraction of its height."""


def train_phantom_sam(
    uri: str,
    views: list[Phantom],
    *,
    seed: int = 0,
    steps: int = 200,
    batch_size: int = 2,
    learning_rate: float = 2e-3,
) -> None:
    """Write a SAM that segments the lungs of phantoms, for `load_sam` to read.

    The prompts are boxes around the right lung, the left lung and both, moved and cut like boxes of coarse masks. SAM
    learns the mask of the lungs in the box (cross-entropy and Dice) and the IoU of its own masks. All four candidates
    learn the same mask, because a box with one object is not ambiguous.

    Args:
        uri: URI of the safetensors file.
        views: the phantoms to learn from, at least `batch_size`.
        seed: seed of weights and boxes; on one machine, the same seed and views give the same file.
        steps: number of training steps, each on one batch.
        batch_size: number of phantoms per batch; each phantom has three boxes.
        learning_rate: peak of the learning rate.

    Raises:
        StorageError: if `uri` cannot be written.
    """
    from safetensors.torch import save

    examples = _SamViews(views)
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_sam(PHANTOM_SAM).train()

        def loss_of_batch() -> torch.Tensor:
            chosen = rng.choice(len(views), batch_size, replace=False)
            embeddings = model.image_encoder(examples.inputs[chosen])
            losses = [
                _mask_loss(model, embedding, examples.boxes_of(i, rng), examples.lungs[i])
                for i, embedding in zip(chosen, embeddings, strict=True)
            ]
            return torch.stack(losses).mean()

        descend(model.parameters(), loss_of_batch, steps=steps, rate=learning_rate)
    write_bytes(uri, save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))


class _SamViews:
    """Phantoms as inputs of SAM: the longest side has the size of the input, and the rest is padded.

    Attributes:
        inputs: normalised inputs, float32 [N, 3, S, S].
        lungs: float32 [N, 3, S / 4, S / 4], fraction of each logit's square that is right lung, left lung, or any lung.
        boxes: boxes around the right lung, the left lung and both, int64 [N, 3, 4] as x0, y0, x1, y1 in pixels of the input.
    """

    def __init__(self, views: list[Phantom]) -> None:
        size, count = PHANTOM_SAM.image_size, len(views)
        pixels, inside = (np.zeros((count, size, size), dtype) for dtype in (np.uint8, np.float32))
        lungs = np.zeros((count, 3, size, size), np.float32)
        for i, view in enumerate(views):
            height, width = (round(side * size / max(view.pixels.shape)) for side in view.pixels.shape)
            window = np.s_[:height, :width]
            pixels[i][window], inside[i][window] = resize_to(view.pixels, height, width), 1
            sides = lung_sides(resize_to(view.lung_mask.astype(np.uint8) * 255, height, width) > 127)
            lungs[i, :, :height, :width] = sides == RIGHT, sides == LEFT, sides > 0
        to_input = GreyInput(IMAGENET_MEAN, IMAGENET_STD, torch.device("cpu"), torch.contiguous_format)
        self.inputs = to_input(pixels) * torch.from_numpy(inside)[:, None]
        self.lungs = functional.avg_pool2d(torch.from_numpy(lungs), LOGIT_STRIDE)
        self.boxes = np.array([[_box_around(mask) for mask in masks] for masks in lungs])

    def boxes_of(self, index: int, rng: np.random.Generator) -> torch.Tensor:
        """Move and cut the boxes of a view at random, like boxes of coarse masks; float32 [3, 4] as x0, y0, x1, y1."""
        size, boxes = PHANTOM_SAM.image_size, self.boxes[index]
        shifts = size * rng.uniform(-BOX_JITTER, BOX_JITTER, boxes.shape)
        for shift, (_, top, _, bottom) in zip(shifts, boxes, strict=True):
            if rng.random() < CUT_PROBABILITY:
                cut = rng.uniform(0, MAX_CUT) * (bottom - top)
                shift[1 if rng.random() < 0.5 else 3] += cut if rng.random() < 0.5 else -cut
        return torch.from_numpy(np.clip(boxes + shifts, 0, size)).float()


def _box_around(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Box around a mask [S, S] that is not empty: x0, y0, x1, y1 in pixels, where x1 and y1 are exclusive."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _mask_loss(model: "SamModel", embedding: torch.Tensor, boxes: torch.Tensor, lungs: torch.Tensor) -> torch.Tensor:
    """Loss, a scalar tensor, of the four candidates that SAM decodes for each box of one image.

    Args:
        model: a SAM.
        embedding: embedding of the image, float32 [C, G, G].
        boxes: boxes float32 [n, 4] as x0, y0, x1, y1 in pixels of the input.
        lungs: float32 [n, h, w], fraction of each logit's square that the box's lungs cover.
    """
    sparse, dense = model.prompt_encoder(points=None, boxes=boxes, masks=None)
    logits, predicted_iou = model.mask_decoder.predict_masks(
        image_embeddings=embedding.unsqueeze(0),
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )
    truth = lungs.unsqueeze(1).expand_as(logits)
    probabilities = logits.sigmoid()
    dice = 1 - 2 * (probabilities * truth).sum((2, 3)) / (probabilities + truth).sum((2, 3))
    masks, meant = logits > model.mask_threshold, truth > 0.5
    iou = (masks & meant).sum((2, 3)) / (masks | meant).sum((2, 3))
    crossed = functional.binary_cross_entropy_with_logits(logits, truth)
    return crossed + dice.mean() + functional.mse_loss(predicted_iou, iou)
