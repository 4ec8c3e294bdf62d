"""Tell whether a frontal chest radiograph is shown with inverted grey levels or rotated by a multiple of 90 degrees.

A linear score says how much an image looks like an upright radiograph: bright below, dark lungs on both sides of a bright
middle. Each of the eight views of an image, rotated back and with or without inverted grey levels, is scored, and the softmax
of the scores is the probability that the image is shown in this way. The few weights were fitted by `fit_orientation.py`.
"""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_ray.archive.uris import read_bytes
from cxr_ray.errors import BundleError

SIDE = 8
"""Side in pixels of the image that is scored."""
BUNDLED = Path(__file__).with_name("orientation.json")
"""Weights that come with the package."""


class Orientation(NamedTuple):
    """How an image is probably shown."""

    inverted: float
    """Probability that the grey levels are inverted."""
    rotated: NDArray[np.float64]
    """Probabilities, float64 [4], that the upright image was rotated by 0, 90, 180 and 270 degrees clockwise."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class OrientationModel:
    """Weights float64 [SIDE, SIDE] of the score of `standard_form`."""

    weights: NDArray[np.float64]

    def orientation_of(self, pixels: NDArray[np.uint8]) -> Orientation:
        """Compute how an image uint8 [H, W] is probably shown."""
        scores = views(standard_form(pixels)) @ self.weights.ravel()
        odds = np.exp(scores - scores.max())
        probabilities = (odds / odds.sum()).reshape(2, 4)
        return Orientation(float(probabilities[1].sum()), np.asarray(probabilities.sum(axis=0)))


def standard_form(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Reduce an image to a small square of ranks, which do not depend on brightness or contrast.

    Args:
        pixels: uint8 [H, W].

    Returns:
        float64 [SIDE, SIDE] in [-1, 1]; equal levels have equal ranks, and the inverted image has the negative of them.
    """
    small = np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX)).ravel()
    ordered = np.sort(small)
    ranks = np.searchsorted(ordered, small, "left") + np.searchsorted(ordered, small, "right")
    return (ranks / len(small) - 1).reshape(SIDE, SIDE)


def views(form: NDArray[np.float64]) -> NDArray[np.float64]:
    """Undo each way of showing an image in standard form, float64 [8, SIDE * SIDE].

    Rows 0 to 3 rotate by 0, 90, 180 and 270 degrees counter-clockwise, and rows 4 to 7 invert the grey levels, too.
    """
    turned = np.stack([np.rot90(form, quarters).ravel() for quarters in range(4)])
    return np.concatenate([turned, -turned])


@functools.cache
def bundled_model() -> OrientationModel:
    """Read the weights that come with the package."""
    return _parsed(BUNDLED.read_bytes(), str(BUNDLED))


def read_orientation(uri: str | None) -> OrientationModel:
    """Read the weights at `uri`, or those that come with the package if it is None.

    Raises:
        StorageError: if the file cannot be read.
        BundleError: if it holds no weights of `fit_orientation.py`.
    """
    return bundled_model() if uri is None else _parsed(read_bytes(uri), uri)


def _parsed(content: bytes, uri: str) -> OrientationModel:
    try:
        weights = np.array(json.loads(content)["weights"], np.float64)
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(f"{uri} holds no weights of an orientation; make it with fit_orientation.py") from error
    if weights.shape != (SIDE, SIDE) or not np.isfinite(weights).all():
        raise BundleError(
            f"{uri} holds weights {list(weights.shape)}, not {SIDE} x {SIDE} finite numbers; make it again"
        )
    return OrientationModel(weights=weights)
