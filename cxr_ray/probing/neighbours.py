"""k nearest neighbours on embeddings, to compare the linear probe with."""

import numpy as np

COUNTS = (1, 3, 5, 10, 20)
"""Numbers of neighbours that are tried."""


def neighbour_probabilities(
    train: np.ndarray, truth: np.ndarray, vectors: np.ndarray, *, classes: int, balanced: bool
) -> dict[int, np.ndarray]:
    """Votes of the nearest training images by the cosine of standardised embeddings.

    Args:
        train: embeddings of the training images, float32 [M, D].
        truth: their classes, int64 [M].
        vectors: embeddings, float32 [N, D].
        classes: number of classes K.
        balanced: whether a vote is divided by the frequency of its class among the training images.

    Returns:
        The shares of the votes, float64 [N, K], for each number of neighbours in `COUNTS` up to M.
    """
    from sklearn.neighbors import NearestNeighbors
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(train)
    most = min(max(COUNTS), len(train))
    search = NearestNeighbors(n_neighbors=most, metric="cosine").fit(scaler.transform(train))
    nearest = truth[search.kneighbors(scaler.transform(vectors), return_distance=False)]
    counts = np.bincount(truth, minlength=classes)
    weights = 1 / np.maximum(counts, 1) if balanced else np.ones(classes)
    votes = {}
    for count in (count for count in COUNTS if count <= most):
        cast = (nearest[:, :count, None] == np.arange(classes)).sum(1) * weights
        votes[count] = cast / cast.sum(1, keepdims=True)
    return votes
