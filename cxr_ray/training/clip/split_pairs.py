"""The pairs of a split as numbers: positions of their pixels, equal images, equal captions."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitPairs:
    """The pairs of one split; all arrays are int64 [N]."""

    pixels: np.ndarray
    """Position of each image among all images that are cached."""
    images: np.ndarray
    """Pairs whose images have the same content share a number."""
    captions: np.ndarray
    """Number of each caption among all captions; pairs with the same caption share it."""
    labels: np.ndarray
    """Number of the class of each image; -1 where it has none."""

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pixels)

    @property
    def identities(self) -> np.ndarray:
        """Number of the image and of the caption of each pair, int64 [N, 2]."""
        return np.stack([self.images, self.captions], 1)


def pairs_by_split(pairs: pa.Table, contents: Sequence[str], classes: Sequence[str]) -> dict[str, SplitPairs]:
    """The pairs of each split, in the order of the table.

    Args:
        pairs: table with the columns of `PAIRS`; every row has a split.
        contents: hash of the content of the image of each pair.
        classes: labels that get a number, in order; other labels get -1.
    """
    class_numbers = {label: number for number, label in enumerate(classes)}
    columns = {
        "pixels": numbered(pairs["uri"].to_pylist()),
        "images": numbered(contents),
        "captions": numbered(pairs["caption"].to_pylist()),
        "labels": np.array([class_numbers.get(label, -1) for label in pairs["label"].to_pylist()], np.int64),
    }
    splits = np.array(pairs["split"].to_pylist())
    return {
        split: SplitPairs(**{name: numbers[splits == split] for name, numbers in columns.items()})
        for split in ("train", "val")
    }


def numbered(values: Sequence[Hashable]) -> np.ndarray:
    """A number for each value, int64 [N]: equal values share one, and new ones count up from 0."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def same_pairs(identities: torch.Tensor) -> torch.Tensor:
    """Which pairs share their image or their caption, bool [B, B], of int64 [B, 2] as `SplitPairs.identities` gives."""
    return (identities.unsqueeze(0) == identities.unsqueeze(1)).any(2)
