"""Sentences as tokens, made once and drawn from by number."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cxr_ray.models.biomedclip import PAD_ID, PromptTokenizer

SENTENCES_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTable:
    """Token ids of many sentences, end to end without padding."""

    token_ids: np.ndarray
    """int32 [T]."""
    ends: np.ndarray
    """int64 [N]: sentence n stops before this position, where the next one begins."""

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.ends)

    def take(self, numbers: np.ndarray) -> torch.Tensor:
        """Token ids int64 [len(numbers), L], padded to the longest of these sentences."""
        ends = self.ends[numbers]
        starts = np.where(numbers > 0, self.ends[numbers - 1], 0)
        padded = np.full((len(numbers), int((ends - starts).max())), PAD_ID, np.int64)
        for row, start, end in zip(padded, starts, ends, strict=True):
            row[: end - start] = self.token_ids[start:end]
        return torch.from_numpy(padded)


def tokenised(tokenizer: PromptTokenizer, sentences: Sequence[str]) -> TokenTable:
    """The table of `sentences`, of which there is at least one."""
    parts, lengths = [], []
    for start in range(0, len(sentences), SENTENCES_AT_ONCE):
        tokens = tokenizer.tokenise(sentences[start : start + SENTENCES_AT_ONCE]).numpy()
        is_token = tokens != PAD_ID
        parts.append(tokens[is_token].astype(np.int32))
        lengths.append(is_token.sum(1))
    return TokenTable(token_ids=np.concatenate(parts), ends=np.concatenate(lengths).cumsum())
