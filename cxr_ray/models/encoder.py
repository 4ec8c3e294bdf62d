"""Encoders that turn uint8 radiographs into features; they do not use Ray, so they run in a notebook."""

import json
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.errors import BundleError, ConfigError
from cxr_ray.models.bundle import ModelCard, kind_of, read_card
from cxr_ray.models.classifier import load_network, memory_format_of
from cxr_ray.models.encoder_card import EncoderCard
from cxr_ray.models.engines.engine import EngineName, ForwardPass
from cxr_ray.models.engines.fastest_engine import fastest_engine
from cxr_ray.models.feature_layer import POOLED, feature_count, feature_reader
from cxr_ray.models.multilabel_card import MultilabelCard
from cxr_ray.models.precision import Precision, default_device

if TYPE_CHECKING:
    from cxr_ray.models.pixel_networks import PixelEncoder


class Encoder:
    """An encoder on one device.

    Args:
        uri: URI of the bundle of an encoder, or of a classifier, which is an encoder without its head.
        layer: `pooled` for what the head of the network reads, `cls` for the class token of a ViT after the last
            normalisation, or the name of a layer, whose output is averaged over its positions.
        device: `cpu`, `cuda` or `cuda:N`; None takes a GPU if there is one, else the CPU.
        precision: precision of the forward pass; `auto` takes bf16 where the engine and the device have it natively.
        engine: program that computes the forward pass, see `fastest_engine`.
        threads: number of threads on a CPU; None leaves it to the engine.

    Raises:
        BundleError: if the bundle is missing or altered, or its weights do not fit its network.
        ConfigError: if the network has no such layer.
        EngineError: if the engine that is named is not there, or cannot compute the encoder.
    """

    def __init__(
        self,
        uri: str,
        *,
        layer: str = POOLED,
        device: str | None = None,
        precision: Precision = "auto",
        engine: EngineName = "torch",
        threads: int | None = None,
    ) -> None:
        self.card = read_encoder_card(uri)
        self.device_name = device or default_device()
        forward = encoder_pass(uri, self.card, layer)
        self.engine = fastest_engine(
            forward, engine=engine, device=self.device_name, precision=precision, threads=threads
        )
        self.precision = self.engine.precision

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 [N, D] of uint8 [N, image_size, image_size]."""
        return self.engine(pixels)


def read_encoder_card(uri: str) -> ModelCard:
    """Read the card of an encoder's or a classifier's bundle at `uri`.

    Raises:
        BundleError: if there is no bundle, its card is damaged, or it is of another kind.
    """
    kind, card_types = kind_of(uri), {card.kind: card for card in (EncoderCard, ModelCard, MultilabelCard)}
    if kind not in card_types:
        raise BundleError(f"{uri} is a bundle of kind {kind!r}; an encoder or a classifier is needed here")
    return read_card(uri, card_types[kind])


def encoder_pass(uri: str, card: ModelCard, layer: str) -> ForwardPass:
    """The forward pass to a layer of the bundle at `uri`, whose card is `card`, for an engine."""
    return ForwardPass(
        name=card.model_id,
        identity=json.dumps([card.backbone, card.network, card.weights_sha256, card.preprocessing_id, "layer", layer]),
        image_size=card.image_size,
        build=partial(build_pixel_encoder, uri, card, layer),
        outputs="features",
    )


def build_pixel_encoder(uri: str, card: ModelCard, layer: str) -> "PixelEncoder":
    """Load the network of the bundle at `uri`, in eval mode on the CPU, with what prepares its pixels and reads a layer.

    Raises:
        BundleError: if the weights are missing or altered, or do not fit the network of `card`.
        ConfigError: if the network has no such layer.
    """
    from cxr_ray.models.pixel_networks import PixelEncoder

    network = load_network(uri, card, outputs=len(card.labels))
    return PixelEncoder(network, card, memory_format_of(card, network), feature_reader(network, layer)).eval()


def features_of(uri: str, card: ModelCard, layer: str) -> int:
    """Number of features that the bundle at `uri`, whose card is `card`, gives at `layer`, without loading its weights.

    Raises:
        BundleError: if the network of `card` cannot be built.
        ConfigError: if the network has no such layer.
    """
    if layer == POOLED and isinstance(card, EncoderCard):
        return card.features
    import torch

    from cxr_ray.models.backbones import build_network

    try:
        with torch.device("meta"):
            network = build_network(
                card.backbone, num_classes=len(card.labels), image_size=card.image_size, options=card.network
            )
    except ConfigError as error:
        raise BundleError(f"{uri}: {error}") from error
    try:
        return feature_count(network.eval(), layer, image_size=card.image_size)
    except ConfigError as error:
        raise ConfigError(f"{uri}: {error}") from error
