"""Encoders that turn uint8 radiographs into features; they do not use Ray, so they run in a notebook."""

import numpy as np

from cxr_ray.models.bundle import read_card
from cxr_ray.models.classifier import load_network, memory_format_of
from cxr_ray.models.encoder_card import EncoderCard
from cxr_ray.models.precision import Precision, autocast, chosen_precision


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
        network = load_network(uri, self.card, outputs=0)
        memory_format = memory_format_of(self.card, network)
        self.model = network.to(self.device).to(memory_format=memory_format)
        self.to_input = GreyInput(self.card.mean, self.card.std, self.device, memory_format)

    def embed(self, pixels: np.ndarray) -> np.ndarray:
        """Features float32 [N, D] of uint8 [N, image_size, image_size]."""
        import torch

        with torch.inference_mode(), autocast(self.device, self.precision):
            features: torch.Tensor = self.model(self.to_input(pixels))
        return features.float().cpu().numpy()
