"""Divide a predicted and a true mask of both lungs into the right and the left lung."""

from typing import NamedTuple

import numpy as np

from cxr_ray.imaging.lungs import lung_pair
from cxr_ray.imaging.mask_components import ranked_components
from cxr_ray.metrics.segmentation import Mask, boundary


class OneLung(NamedTuple):
    """Predicted and true mask of one lung, both bool [H, W]."""

    predicted: Mask
    true: Mask


def divide_lungs(predicted: Mask, truth: Mask) -> dict[str, OneLung] | None:
    """Divide masks by the lungs of the truth: its two largest connected pieces, or one broad piece cut in two (`lung_pair`).

    A radiograph is shown as if the patient faces the viewer: the patient's right lung is on the left side of the image. A
    radiograph that is stored mirrored has its lungs exchanged. A predicted pixel belongs to the lung of the truth that it
    lies in, or else to the nearer one.

    Args:
        predicted: bool [H, W].
        truth: bool [H, W].

    Returns:
        The masks of `right` and `left`; None if the truth does not have two lungs.
    """
    pair = lung_pair(ranked_components(truth))
    if not (pair.right.any() and pair.left.any()):
        return None
    on_right = predicted & pair.right
    outside = np.argwhere(predicted & ~truth)
    if len(outside):
        nearer_right = _distances(outside, pair.right) <= _distances(outside, pair.left)
        on_right[tuple(outside[nearer_right].T)] = True
    return {"right": OneLung(on_right, pair.right), "left": OneLung(predicted & ~on_right, pair.left)}


def _distances(points: np.ndarray, region: Mask) -> np.ndarray:
    """Distance in pixels, float64 [N], from each of `points` int64 [N, 2], all outside the region, to the region."""
    from scipy.spatial import KDTree

    return np.asarray(KDTree(np.argwhere(boundary(region))).query(points)[0])
