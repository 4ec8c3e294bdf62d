"""How well images find their captions and captions their images, from features as NumPy arrays."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

RECALLS_AT = (1, 5, 10)
TIE = 1e-6
"""Cosines this near each other are equal: matrix products in float32 differ by less, according to their shape."""
QUERIES_AT_ONCE = 1024

Indices = NDArray[np.int64]
Features = NDArray[np.float32]


def retrieval_metrics(
    image_features: Features, text_features: Features, images: Indices, captions: Indices
) -> dict[str, float]:
    """Recall at 1, 5 and 10 in both directions, over pairs; and `recall_at_1`, the mean of both at 1.

    Each distinct image and each distinct caption stands for once: an image has found its partner if any caption that
    it forms a pair with is among the first k of all distinct captions, a caption likewise among the images. Every pair
    counts once. What ties with the best partner stands before it, so that features that are all alike find nothing.

    Args:
        image_features: [N, D] of L2 norm 1, of the image of each pair.
        text_features: likewise of its caption.
        images: [N], pairs of one image share a number.
        captions: [N], pairs of one caption share a number.
    """
    _, first_image, image_of = np.unique(images, return_index=True, return_inverse=True)
    _, first_caption, caption_of = np.unique(captions, return_index=True, return_inverse=True)
    each_image, each_caption = image_features[first_image], text_features[first_caption]
    ranks = {
        "image_to_text": partner_ranks(each_image, each_caption, image_of, caption_of)[image_of],
        "text_to_image": partner_ranks(each_caption, each_image, caption_of, image_of)[caption_of],
    }
    figures = {f"{way}_at_{k}": float((found < k).mean()) for way, found in ranks.items() for k in RECALLS_AT}
    return figures | {"recall_at_1": (figures["image_to_text_at_1"] + figures["text_to_image_at_1"]) / 2}


def partner_ranks(queries: Features, candidates: Features, query_of: Indices, candidate_of: Indices) -> Indices:
    """For every query the number of candidates [Q] that are no partner and at least as near as its nearest partner.

    Args:
        queries: [Q, D].
        candidates: [C, D].
        query_of: query of each pair, [N]; every query has one.
        candidate_of: candidate of each pair, [N].
    """
    ranks = np.empty(len(queries), np.int64)
    for start, partners in _partners(query_of, candidate_of, len(queries), len(candidates)):
        cosines = queries[start : start + len(partners)] @ candidates.T
        nearest = np.where(partners, cosines, -np.inf).max(1, keepdims=True)
        ranks[start : start + len(partners)] = ((cosines >= nearest - TIE) & ~partners).sum(1)
    return ranks


def _partners(
    query_of: Indices, candidate_of: Indices, queries: int, candidates: int
) -> Iterator[tuple[int, NDArray[np.bool_]]]:
    """First query of each chunk, and which candidates are partners of the chunk's queries."""
    order = np.argsort(query_of, kind="stable")
    query_of, candidate_of = query_of[order], candidate_of[order]
    for start in range(0, queries, QUERIES_AT_ONCE):
        stop = min(start + QUERIES_AT_ONCE, queries)
        pairs = slice(*np.searchsorted(query_of, [start, stop]))
        partners = np.zeros((stop - start, candidates), bool)
        partners[query_of[pairs] - start, candidate_of[pairs]] = True
        yield start, partners


def zero_shot_accuracy(image_features: Features, class_features: Features, truth: Sequence[int] | Indices) -> float:
    """Share of images [N, D] whose nearest class [K, D] is that of `truth` [N]."""
    return float((np.argmax(image_features @ class_features.T, 1) == np.asarray(truth)).mean())
