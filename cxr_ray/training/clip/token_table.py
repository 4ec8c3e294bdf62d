"""Token ids of many sentences, computed once; batches look up sentences by their numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cxr_ray.models.biomedclip import PAD_ID, PromptTokenizer

SENTENCES_AT_ONCE = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTable:
    """Token ids of N sentences, concatenated without padding."""

    token_ids: np.ndarray
    """int32 [T], token ids of all sentences, one sentence after the other."""
    ends: np.ndarray
    """int64 [N], position in `token_ids` after the last token of each sentence."""

    def __len__(self) -> int:
        """Number of sentences."""
        return len(self.ends)

    def take(self, numbers: np.ndarray) -> torch.Tensor:
        """Look up the sentences `numbers` (int64 [B]): token ids int64 [B, L], padded to the longest of these sentences."""
        ends = self.ends[numbers]
        starts = np.where(numbers > 0, self.ends[numbers - 1], 0)
        padded = np.full((len(numbers), int((ends - starts).max())), PAD_ID, np.int64)
        for row, start, end in zip(padded, starts, ends, strict=True):
            row[: end - start] = self.token_ids[start:end]
        return torch.from_numpy(padded)


def tokenised(tokenizer: PromptTokenizer, sentences: Sequence[str]) -> TokenTable:
    """Tokenise one or more sentences into a table."""
    parts, lengths = [], []
    for start in range(0, len(sentences), SENTENCES_AT_ONCE):
        tokens = tokenizer.tokenise(sentences[start : start + SENTENCES_AT_ONCE]).numpy()
        is_token = tokens != PAD_ID
        parts.append(tokens[is_token].astype(np.int32))
        lengths.append(is_token.sum(1))
    return TokenTable(token_ids=np.concatenate(parts), ends=np.concatenate(lengths).cumsum())
