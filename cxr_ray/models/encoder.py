"""Encoders that turn uint8 radiographs into features; they do not use Ray, so they run in a notebook."""

from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.errors import BundleError, ConfigError
from cxr_ray.models.backbones import build_network, is_channels_last
from cxr_ray.models.bundle import load_weights, read_card
from cxr_ray.models.encoder_card import EncoderCard
from cxr_ray.models.precision import Precision, autocast, chosen_precision

if TYPE_CHECKING:
    from torch import nn


class Encoder:
    """An encoder on one device.

    Args:
        uri: URI of the encoder's bundle.
        device: `cpu`, `cuda` or `cuda:N`; None takes a GPU if there is one, else the CPU.
        precision: precision of the forward pass; `auto` takes bf16 where the device has instructions for it.

    Raises:
        BundleError: if the bundle is missing or altered, or its weights do not fit its network.
    """

    def __init__(self, uri: str, *, device: str | None = None, precision: Precision = "auto") -> None:
        import torch

        from cxr_ray.models.grey_input import GreyInput

        self.card = read_card(uri, EncoderCard)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.precision = chosen_precision(self.device, precision)
        network = load_encoder(uri, self.card)
        channels_last = is_channels_last(self.card.backbone, network)
        memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = network.to(self.device).to(memory_format=memory_format)
        self.to_input = GreyInput(self.card.mean, self.card.std, self.device, memory_format)

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 [N, D] of uint8 [N, image_size, image_size]."""
        import torch

        with torch.inference_mode(), autocast(self.device, self.precision):
            features: torch.Tensor = self.model(self.to_input(pixels))
        return features.float().cpu().numpy()


def load_encoder(uri: str, card: EncoderCard) -> "nn.Module":
    """Load the network of the encoder's bundle at `uri`, in eval mode on the CPU.

    Raises:
        BundleError: if the weights are missing or altered, or do not fit the network of `card`.
    """
    try:
        model = build_network(card.backbone, num_classes=0, image_size=card.image_size, options=card.network)
        model.load_state_dict(load_weights(uri, card))
    except ConfigError as error:
        raise BundleError(f"{uri}: {error}") from error
    except RuntimeError as error:
        raise BundleError(
            f"{uri}: weights do not fit {card.backbone}: {str(error).splitlines()[-1].strip()}"
        ) from error
    return model.eval()
