"""Classifiers that score uint8 radiographs to class probabilities; they do not use Ray, so they run in a notebook."""

import json
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.errors import BundleError, ConfigError, ImageError
from cxr_ray.imaging.radiograph import Radiograph
from cxr_ray.models.backbones import build_network, is_channels_last
from cxr_ray.models.bundle import ModelCard, load_weights, read_card
from cxr_ray.models.bundled_int8 import load_int8_network
from cxr_ray.models.engines.engine import EngineName, ForwardPass
from cxr_ray.models.engines.fastest_engine import fastest_engine
from cxr_ray.models.precision import Precision, default_device
from cxr_ray.schema import NOT_FINITE

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


class Classifier:
    """A classifier on one device; its methods `classify` and `predict` are a stable interface.

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
        self.card: ModelCard = read_card(uri)
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
            ImageError: if the model gives NaN or infinity for this image.
        """
        probs = self.predict(image.squashed(self.card.image_size, self.card.interpolation)[None])
        if not np.isfinite(probs).all():
            raise ImageError(image.name, NOT_FINITE["error_kind"], NOT_FINITE["error"])
        names, full = outcomes(self.card.labels, probs)
        return Prediction(
            label=names[int(full[0].argmax())],
            confidence=float(full[0].max()),
            probabilities=dict(zip(self.card.labels, probs[0].tolist(), strict=True)),
            entropy=float(entropy(probs)[0]),
        )

    def predict(self, pixels: np.ndarray) -> np.ndarray:
        """Class probabilities float32 [N, C], calibrated by the temperature, of uint8 [N, image_size, image_size]."""
        return self.engine(pixels)


def forward_pass(uri: str, card: ModelCard) -> ForwardPass:
    """The forward pass of the classifier in the bundle at `uri`, whose card is `card`, for an engine."""
    return ForwardPass(
        name=card.model_id,
        identity=json.dumps(
            [card.backbone, card.network, card.weights_sha256, card.preprocessing_id, card.temperature]
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


def entropy(probs: np.ndarray) -> np.ndarray:
    """Entropy in nats, float32 [N], of probabilities float [N, C]; if C is 1, that of presence and absence."""
    full = probs if probs.shape[1] > 1 else np.hstack([probs, 1 - probs])
    return np.asarray(-np.sum(full * np.log(np.clip(full, 1e-12, 1)), axis=1), np.float32)


def outcomes(labels: tuple[str, ...], probs: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
    """Possible outcomes of a prediction with their probabilities; a single label has two, its absence and its presence.

    Args:
        labels: the C labels of a bundle.
        probs: probabilities of the labels, float [N, C].

    Returns:
        Names of the outcomes, and probabilities float [N, outcomes] whose rows sum to 1.
    """
    if len(labels) > 1:
        return labels, probs
    return (f"not_{labels[0]}", labels[0]), np.hstack([1 - probs, probs])
