"""Recalls must equal counts by hand, with duplicates, several captions, ties and chunks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_ray.metrics import retrieval as module
from cxr_ray.metrics.retrieval import partner_ranks, retrieval_metrics, zero_shot_accuracy


def features(*angles):
    """Unit vectors float32 [N, 2] at these degrees."""
    radians = np.radians(angles)
    return np.stack([np.cos(radians), np.sin(radians)], 1).astype(np.float32)


def test_perfect_and_hopeless_pairs():
    count = np.arange(4)
    perfect = retrieval_metrics(features(0, 90, 180, 270), features(1, 91, 181, 271), count, count)
    assert set(perfect.values()) == {1.0}
    assert set(perfect) == {
        "recall_at_1", *(f"{way}_at_{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10))
    }  # fmt: skip
    swapped = retrieval_metrics(features(0, 90, 180, 270), features(180, 270, 0, 90), count, count)
    assert swapped["recall_at_1"] == swapped["image_to_text_at_1"] == 0
    assert swapped["image_to_text_at_5"] == 1, "among four, the partner is always within five"


def test_an_image_finds_its_caption_whichever_image_else_has_the_same():
    """Three images of caption 0, one of caption 1: the wrong caption is nearer to one of them."""
    images, captions = np.arange(4), np.array([0, 0, 0, 1])
    found = retrieval_metrics(features(0, 10, 80, 90), features(0, 0, 0, 90), images, captions)
    assert found["image_to_text_at_1"] == 3 / 4
    assert found["text_to_image_at_1"] == 1, "any image of the same caption is a hit"


def test_an_image_with_several_captions_counts_once_and_any_of_them_is_a_hit():
    images, captions = np.array([0, 0, 1]), np.array([0, 1, 2])
    found = retrieval_metrics(features(0, 0, 90), features(5, 60, 90), images, captions)
    assert found["image_to_text_at_1"] == 1
    assert found["text_to_image_at_1"] == 2 / 3, "the caption at 60 degrees is nearer to the other image"


def test_identical_features_retrieve_nothing():
    same, count = np.repeat(features(30), 20, 0), np.arange(20)
    found = retrieval_metrics(same, same, count, count)
    assert set(found.values()) == {0.0}
    nearly = same + 1e-7 * np.random.default_rng(0).normal(size=same.shape).astype(np.float32)
    assert retrieval_metrics(nearly, same, count, count)["image_to_text_at_10"] == 0


@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 12), st.integers(0, 2**31))
@settings(deadline=None)
def test_ranks_equal_those_of_a_loop_over_queries_in_any_chunks(pairs, queries, candidates, seed):
    rng = np.random.default_rng(seed)
    query_of = np.concatenate([np.arange(queries), rng.integers(0, queries, pairs)])
    candidate_of = rng.integers(0, candidates, len(query_of))
    vectors = rng.normal(size=(queries + candidates, 3)).astype(np.float32)
    q, c = np.split(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), [queries])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "QUERIES_AT_ONCE", int(rng.integers(1, 5)))
        found = partner_ranks(q, c, query_of, candidate_of)
    for query in range(queries):
        partners = set(candidate_of[query_of == query].tolist())
        cosines = q[query].astype(np.float64) @ c.T
        nearest = max(cosines[partner] for partner in partners)
        assert found[query] == sum(cosines[j] >= nearest - 1e-6 for j in range(candidates) if j not in partners)


def test_zero_shot_takes_the_nearest_class():
    assert zero_shot_accuracy(features(5, 40, 80, 100), features(0, 90), [0, 1, 1, 0]) == 0.5
