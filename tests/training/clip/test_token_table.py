import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.models.biomedclip import PromptTokenizer
from cxr_ray.training.clip import token_table
from cxr_ray.training.clip.token_table import tokenised

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "clear", "lung", "##s", "with", "a", "small", "mass"]
SENTENCES = ["clear lungs", "mass", "a small mass with clear lungs", "opacity"]


@pytest.fixture(scope="module")
def tokenizer():
    return PromptTokenizer(WORDS, context=6)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=8))
def test_a_batch_is_what_the_tokeniser_makes_of_its_sentences(tokenizer, numbers):
    found = tokenised(tokenizer, SENTENCES).take(np.array(numbers))
    expected = tokenizer.tokenise([SENTENCES[number] for number in numbers])
    assert found.dtype == torch.int64
    assert found.equal(expected)


def test_many_sentences_are_tokenised_in_parts(tokenizer, monkeypatch):
    whole = tokenised(tokenizer, SENTENCES)
    monkeypatch.setattr(token_table, "SENTENCES_AT_ONCE", 3)
    parts = tokenised(tokenizer, SENTENCES)
    assert len(parts) == 4
    np.testing.assert_array_equal(parts.token_ids, whole.token_ids)
    np.testing.assert_array_equal(parts.ends, whole.ends)
