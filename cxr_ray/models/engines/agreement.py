"""Check that an engine computes what its reference computed, torch in fp32, on a fixed batch of drawn images."""

import numpy as np

from cxr_ray.errors import EngineError
from cxr_ray.models.engines.engine import Engine, ForwardPass

TOLERANCE = 0.02
"""Maximum difference of a probability from that of the reference, and of features as a fraction of their length."""
CHECK_IMAGES = 8


def check_pixels(size: int) -> np.ndarray:
    """The fixed batch, uint8 [8, size, size]: soft shades of several scales and contrasts under fine noise, as in films."""
    from PIL import Image

    random = np.random.default_rng(0)
    images = []
    for i in range(CHECK_IMAGES):
        cells, contrast = 3 + i, 255 - 20 * i
        shades = Image.fromarray(random.integers(0, contrast, (cells, cells), dtype=np.uint8))
        smooth = np.asarray(shades.resize((size, size), Image.Resampling.BICUBIC), np.int16)
        images.append(np.clip(smooth + random.integers(-8, 9, smooth.shape), 0, 255).astype(np.uint8))
    return np.stack(images)


def require_agreement(engine: Engine, forward: ForwardPass) -> None:
    """Check the outputs of `engine`, which computes `forward`, on the fixed batch.

    Raises:
        EngineError: if more than `forward.stray_fraction` of the probabilities are off by more than `TOLERANCE`, or lead
            to another label although the reference was clear by more than `TOLERANCE`; or if the features of an image
            are off by more than `TOLERANCE` of their length, as the Euclidean distance.
    """
    expected, found = engine.reference, engine(check_pixels(forward.image_size))
    if found.shape != expected.shape:
        raise EngineError(
            f"its output has the shape {list(found.shape)}, and that of {engine.compared_with} {list(expected.shape)}"
        )
    if forward.outputs == "features":
        _require_near_features(engine, found, expected)
    else:
        _require_same_probabilities(engine, found, expected, forward.stray_fraction)


def _require_near_features(engine: Engine, found: np.ndarray, expected: np.ndarray) -> None:
    comparable = np.isfinite(expected).all(1)  # see below
    lengths = np.linalg.norm(expected[comparable], axis=1)
    distances = np.linalg.norm(found[comparable] - expected[comparable], axis=1)
    is_off = ~(distances <= TOLERANCE * lengths)
    if is_off.any():
        worst = np.max(distances[is_off] / np.maximum(lengths[is_off], np.finfo(np.float32).tiny))
        raise EngineError(
            f"the features of {is_off.mean():.1%} of the images differ from those of {engine.compared_with} by more than "
            f"{TOLERANCE:.0%} of their length, at worst by {worst:.1%}"
        )


def _require_same_probabilities(engine: Engine, found: np.ndarray, expected: np.ndarray, stray_fraction: float) -> None:
    comparable = np.isfinite(expected)  # a broken model gives no number in any engine, and its rows become errors
    is_off = comparable & ~(np.abs(found - expected) <= TOLERANCE)
    if is_off.mean() > stray_fraction:
        raise EngineError(
            f"{is_off.mean():.1%} of its probabilities differ from those of {engine.compared_with} by more than {TOLERANCE}"
        )
    (labels, _), (expected_labels, margins) = _labels(found), _labels(expected)
    is_wrong = (labels != expected_labels) & (margins > TOLERANCE)
    if is_wrong.mean() > stray_fraction:
        raise EngineError(f"{is_wrong.mean():.1%} of its labels differ from those of {engine.compared_with}")


def _labels(probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label that each probability, or row of probabilities of classes, gives, and by how much it leads the next."""
    if probabilities.ndim == 2 and probabilities.shape[1] > 1:
        second, first = np.partition(probabilities, -2, axis=1)[:, -2:].T
        return probabilities.argmax(1), first - second
    return probabilities > 0.5, np.abs(2 * probabilities - 1)
