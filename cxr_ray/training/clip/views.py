"""Pixels and captions as BiomedCLIP learns them: cropped, normalised, tokenised."""

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
    """Some pairs of a split, on the model's device."""

    positions: np.ndarray
    """int64 [B], positions of the pairs within the split."""
    pixels: torch.Tensor
    """float32 [B, 3, S, S], normalised."""
    token_ids: torch.Tensor
    """int64 [B, L], token ids of the captions."""
    identities: torch.Tensor
    """int64 [B, 2], numbers of images and captions, see `SplitPairs.identities`."""

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.positions)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairViews:
    """Makes batches of pairs from batches of images.

    Attributes:
        to_input: turns pixels into normalised inputs.
        pairs: the pairs of the split.
        tokens: token ids of all captions.
        crop: random view of the grey plane, before it is normalised; None shows the whole frame.
        generator: draws the crops; on the CPU.
    """

    to_input: GreyInput
    pairs: SplitPairs
    tokens: TokenTable
    crop: RandomResizedCrop | None = None
    generator: torch.Generator | None = None

    def __call__(self, batches: Iterable[Batch]) -> Iterator[PairBatch]:
        """The pairs of `batches`, whose pixels are uint8 [B, S, S]."""
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
