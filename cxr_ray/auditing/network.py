"""The classifier under audit, which answers images and gives the features that its head reads."""

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

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities float64 [N, K] of the outcomes for images uint8 [N, S, S].

        Raises:
            BundleError: if they are not finite.
        """
        batches = [self.classifier.predict(batch) for batch in _batches(pixels)]
        found = np.concatenate(batches).astype(np.float64)
        _require_finite(found, self.classifier.uri)
        return outcomes(self.classifier.card.labels, found)[1]

    def features(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 [N, D], which the head of the classifier reads, of images uint8 [N, S, S].

        Raises:
            BundleError: if they are not finite.
        """
        found = np.concatenate([self.encoder.embed(batch) for batch in _batches(pixels)])
        _require_finite(found, self.classifier.uri)
        return found


def load_audited(uri: str, engine: EngineName) -> AuditedNetwork:
    """Load the classifier at `uri` in fp32.

    Raises:
        BundleError: if the bundle is no classifier or is damaged.
        EngineError: if the engine cannot compute it.
    """
    classifier = Classifier(uri, engine=engine, precision="fp32")
    return AuditedNetwork(classifier=classifier, encoder=Encoder(uri, engine=engine, precision="fp32"))


def _batches(pixels: np.ndarray) -> list[np.ndarray]:
    return [pixels[start : start + IMAGES_AT_ONCE] for start in range(0, len(pixels), IMAGES_AT_ONCE)]


def _require_finite(values: np.ndarray, uri: str) -> None:
    if not np.isfinite(values).all():
        broken = int((~np.isfinite(values).all(1)).sum())
        raise BundleError(
            f"{uri} gives no finite number for {broken} of {len(values)} images; train or import it again"
        )
