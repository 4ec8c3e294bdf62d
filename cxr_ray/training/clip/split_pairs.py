"""The pairs of a split as integers, which identify pixels, equal images, equal captions and classes."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitPairs:
    """The pairs of one split; all arrays are int64 [N]."""

    pixels: np.ndarray
    """Position of each pair's image among all cached images."""
    images: np.ndarray
    """Number of each pair's image; images with the same content have the same number."""
    captions: np.ndarray
    """Number of each pair's caption; equal captions have the same number."""
    labels: np.ndarray
    """Number of the class of each pair's image; -1 if the image has no class."""

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.pixels)

    @property
    def identities(self) -> np.ndarray:
        """Numbers of the image and of the caption of each pair, int64 [N, 2]."""
        return np.stack([self.images, self.captions], 1)


def pairs_by_split(pairs: pa.Table, contents: Sequence[str], classes: Sequence[str]) -> dict[str, SplitPairs]:
    """Number the pairs of the splits train and val, in the order of the table.

    Args:
        pairs: table with the columns of `PAIRS`; every row must have a split.
        contents: hash of the content of each pair's image file.
        classes: labels that get the numbers 0, 1, ...; any other label gets -1.
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
    """Number values, int64 [N]: each new value gets the next integer from 0 on, and equal values get the same integer."""
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def same_pairs(identities: torch.Tensor) -> torch.Tensor:
    """Whether each two pairs have the same image or caption, bool [B, B], for `SplitPairs.identities` int64 [B, 2]."""
    return (identities.unsqueeze(0) == identities.unsqueeze(1)).any(2)
