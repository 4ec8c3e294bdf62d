"""Metrics of retrieval between images and captions, computed from their features as NumPy arrays."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

RECALLS_AT = (1, 5, 10)
TIE = 1e-6
"""Cosines that differ by no more than this are equal; rounding in float32 matrix products causes smaller differences."""
QUERIES_AT_ONCE = 1024

Indices = NDArray[np.int64]
Features = NDArray[np.float32]


def retrieval_metrics(
    image_features: Features, text_features: Features, images: Indices, captions: Indices
) -> dict[str, float]:
    """Compute recall at 1, 5 and 10 from image to text and from text to image, over N pairs of an image and a caption.

    An image retrieves its caption at k if any caption that is paired with it is among the k nearest of all distinct
    captions; a caption retrieves its image at k by the same rule among all distinct images. Every pair counts once.
    Candidates that tie with the nearest partner rank before it, so that identical features retrieve nothing.

    Args:
        image_features: float32 [N, D] of L2 norm 1, the features of the image of each pair.
        text_features: float32 [N, D] of L2 norm 1, the features of the caption of each pair.
        images: int64 [N], a number for the image of each pair; pairs of one image have the same number.
        captions: int64 [N], a number for the caption of each pair; pairs of one caption have the same number.

    Returns:
        `image_to_text_at_1`, `text_to_image_at_1`, ... in [0, 1], and `recall_at_1`, the mean of both at 1.
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
    """Count, for every query, the candidates that are not its partner and are as near as its nearest partner, or nearer.

    Args:
        queries: float32 [Q, D] of L2 norm 1.
        candidates: float32 [C, D] of L2 norm 1.
        query_of: int64 [N], the position in `queries` of the query of each pair; every query has a pair.
        candidate_of: int64 [N], the position in `candidates` of the candidate of each pair.

    Returns:
        int64 [Q]; 0 means that a partner is the nearest candidate.
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
    """Yield, for each chunk of queries, the position of its first query and the partners of its queries, bool [chunk, C]."""
    order = np.argsort(query_of, kind="stable")
    query_of, candidate_of = query_of[order], candidate_of[order]
    for start in range(0, queries, QUERIES_AT_ONCE):
        stop = min(start + QUERIES_AT_ONCE, queries)
        pairs = slice(*np.searchsorted(query_of, [start, stop]))
        partners = np.zeros((stop - start, candidates), bool)
        partners[query_of[pairs] - start, candidate_of[pairs]] = True
        yield start, partners


def zero_shot_accuracy(image_features: Features, class_features: Features, truth: Sequence[int] | Indices) -> float:
    """Compute the fraction of images whose nearest class feature is that of the true class.

    Args:
        image_features: float32 [N, D] of L2 norm 1, N >= 1.
        class_features: float32 [K, D] of L2 norm 1.
        truth: N indices of the true classes, 0 to K - 1.
    """
    return float((np.argmax(image_features @ class_features.T, 1) == np.asarray(truth)).mean())
