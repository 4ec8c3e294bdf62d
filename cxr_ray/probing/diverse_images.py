"""Choose images that differ from each other, and about which a probe is unsure: k-means++ and BADGE."""

from collections.abc import Callable

import numpy as np

ROWS_AT_ONCE = 2_048
"""Number of labelled images to which distances are computed at a time."""
ROUNDING = 1e-5
"""Squared distances below this fraction of the squared lengths of both vectors are those of equal images."""


def uncertain_and_diverse(vectors: np.ndarray, probabilities: np.ndarray, *, count: int, seed: int) -> list[int]:
    """Choose images by BADGE: Ash et al. 2020, "Deep Batch Active Learning by Diverse, Uncertain Gradient Lower Bounds".

    An image is represented by the gradient of the loss with respect to the last layer, as if the predicted class were the
    true one: the outer product of its embedding and the error of the probabilities. It is long where the probe is unsure,
    and its direction tells images apart; k-means++ chooses images whose gradients are far from each other. Other than in
    the paper, the gradient of length 0 counts as chosen, so that images about which the probe is sure are not drawn.

    Args:
        vectors: embeddings, float32 [N, D].
        probabilities: class probabilities, float [N, K].
        count: number of images to choose.
        seed: seed of the choice.

    Returns:
        Positions of at most `count` images in the order in which they were chosen, the longest gradient first; fewer if
        all others equal one that was chosen.
    """
    errors = probabilities.astype(np.float32)
    errors[np.arange(len(errors)), errors.argmax(1)] -= 1
    norms = (errors**2).sum(1) * (vectors**2).sum(1)

    def distances(place: int) -> np.ndarray:  # the product of two outer products is that of the products of their parts
        products = (errors @ errors[place]) * (vectors @ vectors[place])
        return _without_rounding(norms + norms[place] - 2 * products, norms + norms[place])

    return _seeds(distances, norms, first=int(norms.argmax()), count=count, seed=seed)


def diverse(vectors: np.ndarray, labelled: np.ndarray, *, count: int, seed: int) -> list[int]:
    """Choose images far from each other and from those that are labelled, by k-means++ on embeddings of length 1.

    The method is the seeding of Arthur and Vassilvitskii 2007, "k-means++: The Advantages of Careful Seeding": an image is
    drawn with a probability in proportion to its squared distance from the nearest one that was chosen.

    Args:
        vectors: embeddings, float32 [N, D].
        labelled: embeddings of labelled images, float32 [M, D], which count as chosen.
        count: number of images to choose.
        seed: seed of the choice.

    Returns:
        Positions of at most `count` images in the order in which they were chosen.
    """
    unit, known = _of_length_one(vectors), _of_length_one(labelled)
    nearest = np.full(len(unit), 4.0, np.float32)  # the largest squared distance of vectors of length 1
    for start in range(0, len(known), ROWS_AT_ONCE):
        nearest = np.minimum(nearest, 2 - 2 * (unit @ known[start : start + ROWS_AT_ONCE].T).max(1))

    def distances(place: int) -> np.ndarray:
        return _without_rounding(2 - 2 * (unit @ unit[place]), 2.0)

    first = int(nearest.argmax()) if len(known) else int(np.random.default_rng(seed).integers(len(unit)))
    return _seeds(distances, nearest, first=first, count=count, seed=seed)


def _seeds(
    distances: Callable[[int], np.ndarray], nearest: np.ndarray, *, first: int, count: int, seed: int
) -> list[int]:
    """Draw positions by k-means++.

    Args:
        distances: squared distances float [N] of all items from the item at a position.
        nearest: squared distance of each item from the nearest one that counts as chosen already, float [N].
        first: position of the first item.
        count: number of items.
        seed: seed of the draws.
    """
    random, chosen = np.random.default_rng(seed), [first]
    nearest = nearest.astype(np.float64)
    while len(chosen) < min(count, len(nearest)):
        nearest = np.minimum(nearest, distances(chosen[-1]))
        nearest[chosen[-1]] = 0
        if not nearest.any():
            break
        chosen.append(int(random.choice(len(nearest), p=nearest / nearest.sum())))
    return chosen


def _without_rounding(distances: np.ndarray, lengths: np.ndarray | float) -> np.ndarray:
    return np.where(distances > ROUNDING * np.asarray(lengths), distances, 0)


def _of_length_one(vectors: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny))
