"""A small SAM, trained on chest phantoms in half a minute of CPU time: from a rough box to the lung in it."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from cxr_ray.archive.uris import write_bytes
from cxr_ray.imaging.resize import resize_to
from cxr_ray.models.bundle import IMAGENET_MEAN, IMAGENET_STD
from cxr_ray.models.grey_input import GreyInput
from cxr_ray.models.sam import SamConfig, build_sam
from cxr_ray.phantoms.phantom import Phantom
from cxr_ray.phantoms.phantom_models import LEFT, RIGHT, descend, lung_sides, phantom_views

if TYPE_CHECKING:
    from segment_anything.modeling import Sam as SamModel

PHANTOM_SAM = SamConfig(
    encoder_depth=3,
    encoder_embed_dim=64,
    encoder_num_heads=2,
    encoder_global_attn_indexes=(
        0,
        1,
        2,
    ),  # windows of 14 x 14 patches would pad 16 x 16 of them to three times as many
    prompt_embed_dim=32,
    image_size=256,
)
LOGIT_STRIDE = 4
"""Pixels a side that a logit of SAM's decoder stands for."""
BOX_JITTER = 0.08
"""Greatest shift of a box's edge, as a share of the image's side: a little more than one of CLIP's patches."""
CUT_PROBABILITY, GREATEST_CUT = 0.3, 0.4
"""How often a box lacks some of a lung's height, and how much of it."""


def train_phantom_sam(
    uri: str,
    *,
    seed: int = 0,
    phantoms: int = 192,
    steps: int = 200,
    batch_size: int = 8,
    learning_rate: float = 1e-3,
) -> None:
    """Write a SAM that cuts lungs out of phantoms, for `load_sam` to read.

    It is shown boxes around either lung and around both, moved and cut as those of coarse masks are, and learns the
    lungs that were meant (cross-entropy and Dice) and how well each mask overlaps them. All four candidates learn
    the same: with one object in a box there is nothing to be ambiguous about.

    Args:
        uri: of the safetensors file.
        seed: of weights, phantoms and boxes; the same on one machine gives the same file.
        phantoms: how many are drawn.
        steps: batches that are learned from.
        batch_size: phantoms in each, with three boxes a phantom.
        learning_rate: its peak.
    """
    from safetensors.torch import save

    views = _SamViews(phantom_views(phantoms, seed=seed))
    rng = np.random.default_rng(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = build_sam(PHANTOM_SAM).train()

        def loss_of_batch() -> torch.Tensor:
            chosen = rng.choice(phantoms, batch_size, replace=False)
            embeddings = model.image_encoder(views.inputs[chosen])
            losses = [
                _mask_loss(model, embedding, views.boxes_of(i, rng), views.lungs[i])
                for i, embedding in zip(chosen, embeddings, strict=True)
            ]
            return torch.stack(losses).mean()

        descend(model.parameters(), loss_of_batch, steps=steps, rate=learning_rate)
    write_bytes(uri, save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}))


class _SamViews:
    """Phantoms as SAM sees them: the longest side of its input's size, the rest padded.

    Attributes:
        inputs: float32 [N, 3, S, S], normalised.
        lungs: float32 [N, 3, S / 4, S / 4], share of each logit's square that is right, left or either lung.
        boxes: float64 [N, 3, 4], x0, y0, x1, y1 around them.
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
        """The boxes of a view as a coarse mask might give them, float32 [3, 4]."""
        size, boxes = PHANTOM_SAM.image_size, self.boxes[index]
        shifts = size * rng.uniform(-BOX_JITTER, BOX_JITTER, boxes.shape)
        for shift, (_, top, _, bottom) in zip(shifts, boxes, strict=True):
            if rng.random() < CUT_PROBABILITY:
                cut = rng.uniform(0, GREATEST_CUT) * (bottom - top)
                shift[1 if rng.random() < 0.5 else 3] += cut if rng.random() < 0.5 else -cut
        return torch.from_numpy(np.clip(boxes + shifts, 0, size)).float()


def _box_around(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Outer edges of a mask [S, S] that is not empty: x0, y0, x1, y1."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


def _mask_loss(model: "SamModel", embedding: torch.Tensor, boxes: torch.Tensor, lungs: torch.Tensor) -> torch.Tensor:
    """Of the four candidates that SAM makes of each box of one image, [].

    Args:
        model: a SAM.
        embedding: float32 [C, G, G] of the image.
        boxes: float32 [n, 4].
        lungs: float32 [n, h, w], the share of each logit's square that was meant.
    """
    sparse, dense = model.prompt_encoder(points=None, boxes=boxes, masks=None)
    logits, predicted_iou = model.mask_decoder.predict_masks(
        image_embeddings=embedding.unsqueeze(0),
        image_pe=model.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
    )
    truth = lungs.unsqueeze(1).expand_as(logits)
    shares = logits.sigmoid()
    dice = 1 - 2 * (shares * truth).sum((2, 3)) / (shares + truth).sum((2, 3))
    masks, meant = logits > model.mask_threshold, truth > 0.5
    iou = (masks & meant).sum((2, 3)) / (masks | meant).sum((2, 3))
    crossed = functional.binary_cross_entropy_with_logits(logits, truth)
    return crossed + dice.mean() + functional.mse_loss(predicted_iou, iou)
