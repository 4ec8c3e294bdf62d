"""Classifiers that score uint8 radiographs to class probabilities; they do not use Ray, so they run in a notebook."""

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.errors import BundleError, ConfigError, ImageError
from cxr_ray.imaging.radiograph import Radiograph
from cxr_ray.models.backbones import build_network, is_channels_last
from cxr_ray.models.bundle import ModelCard, load_weights, read_card
from cxr_ray.models.precision import Precision, autocast, chosen_precision
from cxr_ray.schema import NOT_FINITE

if TYPE_CHECKING:
    import torch
    from torch import nn


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
        precision: precision of the forward pass; `auto` takes bf16 where the device has instructions for it, else
            fp32. fp32 is the reference.
        many_images: True converts the network by `frozen` to its fastest form for a CPU in fp32. This takes seconds
            and changes results only by rounding; for a few images it is not worth the wait.

    Raises:
        BundleError: if the bundle is missing or altered, or its weights do not fit its backbone.
    """

    def __init__(
        self, uri: str, *, device: str | None = None, precision: Precision = "auto", many_images: bool = False
    ) -> None:
        import torch

        from cxr_ray.models.grey_input import GreyInput

        self.uri = uri
        self.card: ModelCard = read_card(uri)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.precision = chosen_precision(self.device, precision)
        network = load_network(uri, self.card)
        channels_last = is_channels_last(self.card.backbone, network)
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = network.to(self.device).to(memory_format=self._memory_format)
        self.to_input = GreyInput(self.card.mean, self.card.std, self.device, self._memory_format)
        self._is_frozen = many_images and self.device.type == "cpu" and self.precision == "fp32"
        if self._is_frozen:
            self.model = frozen(self.model, self.to_input(np.zeros((2, *2 * [self.card.image_size]), np.uint8)))

    @cached_property
    def network(self) -> "nn.Module":
        """Network that supports gradients and hooks, in eval mode on the device.

        The frozen form of `many_images` supports neither, so the network is then loaded again at the first use.
        """
        if not self._is_frozen:
            return self.model
        return load_network(self.uri, self.card).to(self.device).to(memory_format=self._memory_format)

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
        import torch

        with torch.inference_mode(), autocast(self.device, self.precision):
            logits = self.model(self.to_input(pixels))
        return probabilities(logits.float() / self.card.temperature).cpu().numpy()


def load_network(uri: str, card: ModelCard) -> "nn.Module":
    """Load the network of the classifier's bundle at `uri`, in eval mode on the CPU.

    Raises:
        BundleError: if the weights are missing or altered, or do not fit the backbone of `card`.
    """
    try:
        model = build_network(
            card.backbone, num_classes=len(card.labels), image_size=card.image_size, options=card.network
        )
        model.load_state_dict(load_weights(uri, card))
    except ConfigError as error:
        raise BundleError(f"{uri}: {error}") from error
    except RuntimeError as error:
        raise BundleError(
            f"{uri}: weights do not fit {card.backbone}: {str(error).splitlines()[-1].strip()}"
        ) from error
    return model.eval()


def frozen(model: "nn.Module", example: "torch.Tensor") -> "torch.jit.ScriptModule":
    """Convert `model` to its form for inference: batch norms folded, weights packed once, operators fused.

    On 2 cores ResNet50 gains a third over eager mode with channels last; unlike torch.compile, no compiler is needed.

    Args:
        model: a network in eval mode, on a CPU, in fp32.
        example: inputs float32 [N, 3, S, S] with the S and the memory format of all later inputs; N may change.
    """
    import torch

    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", FutureWarning)  # the successor of torch.jit needs a compiler on every node
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # tracing makes sizes constants, as intended
        return torch.jit.optimize_for_inference(torch.jit.trace(model, example, check_trace=False))


def probabilities(logits: "torch.Tensor") -> "torch.Tensor":
    """Softmax of logits float [N, C]; if C is 1, where the softmax would always be 1, the sigmoid."""
    return logits.softmax(1) if logits.shape[1] > 1 else logits.sigmoid()


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
