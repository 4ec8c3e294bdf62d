"""Classifiers that score uint8 radiographs to class probabilities; they do not use Ray, so they run in a notebook."""

import json
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.errors import BundleError, ConfigError, ImageError
from cxr_ray.imaging.radiograph import Radiograph
from cxr_ray.models.backbones import build_network, is_channels_last
from cxr_ray.models.bundle import ModelCard, load_weights
from cxr_ray.models.bundled_int8 import load_int8_network
from cxr_ray.models.engines.engine import EngineName, ForwardPass
from cxr_ray.models.engines.fastest_engine import fastest_engine
from cxr_ray.models.multilabel_card import read_classifier_card
from cxr_ray.models.precision import Precision, default_device
from cxr_ray.models.task import Findings, OneClass, entropy, outcomes, task_of
from cxr_ray.schema import NOT_FINITE, PRESENT, finding_column

if TYPE_CHECKING:
    import torch
    from torch import nn

    from cxr_ray.models.grey_input import GreyInput
    from cxr_ray.models.pixel_networks import PixelClassifier


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Prediction of a classifier for one image; an archive job writes the same values as columns.

    Attributes:
        label: the most probable class; with a single label, `not_LABEL` unless its probability is above one half.
        confidence: probability of `label`, 0 to 1.
        probabilities: probability of every label of the bundle, 0 to 1.
        entropy: entropy of the probabilities in nats; 0 means that the classifier is sure.
    """

    label: str
    confidence: float
    probabilities: dict[str, float]
    entropy: float


@dataclass(frozen=True, kw_only=True, slots=True)
class FindingPrediction:
    """Prediction of a classifier for one finding of one image.

    Attributes:
        is_present: whether the finding is called present, which is so from the threshold on.
        probability: calibrated probability that it is present, 0 to 1.
        threshold: threshold of the bundle for this finding, chosen on the val split.
    """

    is_present: bool
    probability: float
    threshold: float


class Classifier:
    """A classifier on one device; its methods `classify`, `find` and `predict` are a stable interface.

    Args:
        uri: URI of the classifier's bundle.
        device: `cpu`, `cuda` or `cuda:N`; None takes a GPU if there is one, else the CPU.
        precision: precision of the forward pass; `auto` takes the int8 network of the bundle if it has one and OpenVINO
            is the engine, else bf16 where the engine and the device have it natively, else fp32. fp32 is the reference.
        engine: program that computes the forward pass, see `fastest_engine`. For a few images torch is the quickest,
            because it starts at once.
        threads: number of threads on a CPU; None leaves it to the engine.

    Raises:
        BundleError: if the bundle is missing or altered, or its weights do not fit its backbone.
        EngineError: if the engine that is named is not there, or cannot compute the classifier.
    """

    def __init__(
        self,
        uri: str,
        *,
        device: str | None = None,
        precision: Precision = "auto",
        engine: EngineName = "torch",
        threads: int | None = None,
    ) -> None:
        self.uri = uri
        self.card: ModelCard = read_classifier_card(uri)
        self.task = task_of(self.card)
        self.device_name = device or default_device()
        self.engine = fastest_engine(
            forward_pass(uri, self.card), engine=engine, device=self.device_name, precision=precision, threads=threads
        )
        self.precision = self.engine.precision

    @cached_property
    def device(self) -> "torch.device":
        """Device of the classifier; asking for it loads torch."""
        import torch

        return torch.device(self.device_name)

    @cached_property
    def network(self) -> "nn.Module":
        """Network that supports gradients and hooks, in eval mode on the device: normalised float [N, 3, S, S] -> logits.

        Only the engine torch holds it; with another one it is loaded at the first use.
        """
        network: nn.Module = getattr(self.engine, "network", None) or build_pixel_classifier(self.uri, self.card)
        return network.to(self.device).network  # type: ignore[return-value]

    @cached_property
    def to_input(self) -> "GreyInput":
        """Function from uint8 [N, S, S] to inputs of `network`."""
        from cxr_ray.models.grey_input import GreyInput

        return GreyInput(self.card.mean, self.card.std, self.device, memory_format_of(self.card, self.network))

    def classify(self, image: Radiograph) -> Prediction:
        """Predict one radiograph, with the numbers that `classify_archive` writes for the same file.

        The numbers are equal up to rounding, because processors add in another order if the batch has another size.

        Raises:
            BundleError: if the classifier predicts findings, for which `find` is.
            ImageError: if the model gives NaN or infinity for this image.
        """
        if not isinstance(self.task, OneClass):
            raise BundleError(f"{self.uri} predicts several findings of an image; call find() instead of classify()")
        probs = self._finite(image)
        names, full = outcomes(self.card.labels, probs)
        return Prediction(
            label=names[int(full[0].argmax())],
            confidence=float(full[0].max()),
            probabilities=dict(zip(self.card.labels, probs[0].tolist(), strict=True)),
            entropy=float(entropy(probs)[0]),
        )

    def find(self, image: Radiograph) -> dict[str, FindingPrediction]:
        """Predict each finding of one radiograph, by label, with the numbers that `classify_archive` writes for the same file.

        Raises:
            BundleError: if the classifier predicts one class, for which `classify` is.
            ImageError: if the model gives NaN or infinity for this image.
        """
        if not isinstance(self.task, Findings):
            raise BundleError(f"{self.uri} predicts one class of an image; call classify() instead of find()")
        probs = self._finite(image)
        columns = self.task.columns(probs)
        return {
            label: FindingPrediction(
                is_present=bool(columns[finding_column(label)][0] == PRESENT),
                probability=float(probs[0, k]),
                threshold=self.task.thresholds[k],
            )
            for k, label in enumerate(self.task.labels)
        }

    def _finite(self, image: Radiograph) -> np.ndarray:
        """Probabilities float32 [1, C] of one image, all finite."""
        probs = self.predict(image.squashed(self.card.image_size, self.card.interpolation)[None])
        if not np.isfinite(probs).all():
            raise ImageError(image.name, NOT_FINITE["error_kind"], NOT_FINITE["error"])
        return probs

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Probabilities float32 [N, C], calibrated by the temperature, of uint8 [N, image_size, image_size]."""
        return self.engine(pixels)


def forward_pass(uri: str, card: ModelCard) -> ForwardPass:
    """The forward pass of the classifier in the bundle at `uri`, whose card is `card`, for an engine."""
    return ForwardPass(
        name=card.model_id,
        identity=json.dumps(
            [card.backbone, card.network, card.weights_sha256, card.preprocessing_id, task_of(card).temperature]
        ),
        image_size=card.image_size,
        build=partial(build_pixel_classifier, uri, card),
        int8=partial(load_int8_network, uri, card) if card.precision == "int8" else None,
    )


def build_pixel_classifier(uri: str, card: ModelCard) -> "PixelClassifier":
    """Load the network of the classifier's bundle at `uri`, in eval mode on the CPU, with what prepares its pixels.

    Raises:
        BundleError: if the weights are missing or altered, or do not fit the backbone of `card`.
    """
    from cxr_ray.models.pixel_networks import PixelClassifier

    network = load_network(uri, card, outputs=len(card.labels))
    return PixelClassifier(network, card, memory_format_of(card, network)).eval()


def load_network(uri: str, card: ModelCard, *, outputs: int) -> "nn.Module":
    """Load the network of the bundle at `uri`, in eval mode on the CPU: normalised float32 [N, 3, S, S] -> [N, outputs].

    Args:
        uri: URI of the bundle.
        card: its card.
        outputs: number of outputs of the head; 0 for an encoder, which has none and gives features.

    Raises:
        BundleError: if the weights are missing or altered, or do not fit the backbone of `card`.
    """
    try:
        network = build_network(card.backbone, num_classes=outputs, image_size=card.image_size, options=card.network)
        network.load_state_dict(load_weights(uri, card))
    except ConfigError as error:
        raise BundleError(f"{uri}: {error}") from error
    except RuntimeError as error:
        raise BundleError(
            f"{uri}: weights do not fit {card.backbone}: {str(error).splitlines()[-1].strip()}"
        ) from error
    return network.eval()


def memory_format_of(card: ModelCard, network: "nn.Module") -> "torch.memory_format":
    """Memory format in which `network`, the backbone of `card`, is fastest."""
    import torch

    return torch.channels_last if is_channels_last(card.backbone, network) else torch.contiguous_format
