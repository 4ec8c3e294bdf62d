"""Token ids of many sentences, made once; a batch takes sentences from it by their numbers."""

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
    """int64 [N], position in `token_ids` at which each sentence ends and the next one begins."""

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.ends)

    def take(self, numbers: np.ndarray) -> torch.Tensor:
        """Token ids of the sentences `numbers`, int64 [len(numbers), L], padded to the longest of them."""
        ends = self.ends[numbers]
        starts = np.where(numbers > 0, self.ends[numbers - 1], 0)
        padded = np.full((len(numbers), int((ends - starts).max())), PAD_ID, np.int64)
        for row, start, end in zip(padded, starts, ends, strict=True):
            row[: end - start] = self.token_ids[start:end]
        return torch.from_numpy(padded)


def tokenised(tokenizer: PromptTokenizer, sentences: Sequence[str]) -> TokenTable:
    """Make the table of `sentences`, which are one or more."""
    parts, lengths = [], []
    for start in range(0, len(sentences), SENTENCES_AT_ONCE):
        tokens = tokenizer.tokenise(sentences[start : start + SENTENCES_AT_ONCE]).numpy()
        is_token = tokens != PAD_ID
        parts.append(tokens[is_token].astype(np.int32))
        lengths.append(is_token.sum(1))
    return TokenTable(token_ids=np.concatenate(parts), ends=np.concatenate(lengths).cumsum())
