"""Training inputs of BiomedCLIP: cropped and normalised images with their tokenised captions."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from cxr_ray.models.grey_input import GreyInput
from cxr_ray.training.augmentation import RandomResizedCrop
from cxr_ray.training.batch import Batch
from cxr_ray.training.clip.split_pairs import SplitPairs
from cxr_ray.training.clip.token_table import TokenTable


@dataclass(frozen=True, kw_only=True, slots=True)
class PairBatch:
    """Pairs of one batch, whose tensors are on the model's device."""

    positions: np.ndarray
    """int64 [B], positions of the pairs within the split."""
    pixels: torch.Tensor
    """float32 [B, 3, S, S], normalised images."""
    token_ids: torch.Tensor
    """int64 [B, L], token ids of the captions, padded to the longest one."""
    identities: torch.Tensor
    """int64 [B, 2], numbers of the image and the caption of each pair, see `SplitPairs.identities`."""

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.positions)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairViews:
    """Makes batches of pairs from batches of images.

    Attributes:
        to_input: function that turns pixels into normalised inputs.
        pairs: pairs of the split.
        tokens: token ids of all captions.
        crop: random crop of the grey images, which precedes normalisation; None keeps the whole images.
        generator: generator of the crops, on the CPU; without it no image is cropped.
    """

    to_input: GreyInput
    pairs: SplitPairs
    tokens: TokenTable
    crop: RandomResizedCrop | None = None
    generator: torch.Generator | None = None

    def __call__(self, batches: Iterable[Batch]) -> Iterator[PairBatch]:
        """Yield the pairs of `batches`, whose pixels are uint8 [B, S, S]."""
        for batch in batches:
            grey = self.to_input.on_device(batch.pixels)
            if self.crop and self.generator:
                grey = self.crop(grey, self.generator)
            token_ids = self.tokens.take(self.pairs.captions[batch.positions])
            identities = torch.from_numpy(self.pairs.identities[batch.positions])
            yield PairBatch(
                positions=batch.positions,
                pixels=self.to_input.normalised(grey),
                token_ids=token_ids.to(grey.device, non_blocking=True),
                identities=identities.to(grey.device, non_blocking=True),
            )
