"""The classifier under audit, which answers images and gives the features that its head reads."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from cxr_ray.errors import BundleError
from cxr_ray.models.classifier import Classifier, outcomes
from cxr_ray.models.encoder import Encoder
from cxr_ray.models.engines.engine import EngineName

IMAGES_AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class AuditedNetwork:
    """A classifier, and the same network without its head."""

    classifier: Classifier
    encoder: Encoder

    def outputs(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities float32 [N, C] of the labels of the bundle for images uint8 [N, S, S].

        Raises:
            BundleError: if they are not finite.
        """
        return self._finite(_in_batches(self.classifier.predict, pixels))

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities float64 [N, K] of the outcomes, of which a single label has two; else as `outputs`."""
        return outcomes(self.classifier.card.labels, self.outputs(pixels).astype(np.float64))[1]

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 [N, D], which the head of the classifier reads, of images uint8 [N, S, S].

        Raises:
            BundleError: if they are not finite.
        """
        return self._finite(_in_batches(self.encoder.embed, pixels))

    def _finite(self, values: np.ndarray) -> np.ndarray:
        if not np.isfinite(values).all():
            broken = int((~np.isfinite(values).all(1)).sum())
            raise BundleError(
                f"{self.classifier.uri} gives no finite number for {broken} of {len(values)} images;"
                " train or import it again"
            )
        return values


def load_audited(uri: str, engine: EngineName) -> AuditedNetwork:
    """Load the classifier at `uri` in fp32.

    Raises:
        BundleError: if the bundle is no classifier or is damaged.
        EngineError: if the engine cannot compute it.
    """
    classifier = Classifier(uri, engine=engine, precision="fp32")
    return AuditedNetwork(classifier=classifier, encoder=Encoder(uri, engine=engine, precision="fp32"))


def _in_batches(compute: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> np.ndarray:
    """Compute images in batches of one size, because engines compile each size anew; the last batch repeats its images."""
    found = []
    for start in range(0, len(pixels), IMAGES_AT_ONCE):
        batch = pixels[start : start + IMAGES_AT_ONCE]
        found.append(compute(np.resize(batch, (IMAGES_AT_ONCE, *batch.shape[1:])))[: len(batch)])
    return np.concatenate(found)
