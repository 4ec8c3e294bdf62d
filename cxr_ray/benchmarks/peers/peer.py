"""What every peer gets, what it gives, and the torch model that all of them run."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from cxr_ray.models.bundle import ModelCard, read_card
from cxr_ray.models.classifier import load_network

if TYPE_CHECKING:
    import torch

PeerPrecision = Literal["fp32", "bf16"]


@dataclass(frozen=True, kw_only=True)
class PeerTask:
    """Files to score, and the classifier to score them with."""

    uris: tuple[str, ...]
    """PNG or JPEG files."""
    model_uri: str
    """Classifier bundle."""
    device: Literal["cpu", "cuda"]
    precision: PeerPrecision
    batch_size: int

    @cached_property
    def card(self) -> ModelCard:
        """The card of the bundle."""
        return read_card(self.model_uri)


class PeerModel:
    """The classifier as a user of torch runs it: eager, channels last, weights and images in one precision.

    Args:
        task: what is scored; its files are not read.

    Raises:
        BundleError: if the bundle is missing or damaged.
    """

    def __init__(self, task: PeerTask) -> None:
        import torch

        card = task.card
        model: Any = load_network(task.model_uri, card, outputs=len(card.labels))
        self._dtype = torch.bfloat16 if task.precision == "bf16" else torch.float32
        self._device = task.device
        self._model = model.to(task.device, self._dtype, memory_format=torch.channels_last)
        self._mean, self._std = (
            torch.tensor(values, device=task.device).view(1, 3, 1, 1) for values in (card.mean, card.std)
        )

    def __call__(self, pixels: "np.ndarray | torch.Tensor") -> np.ndarray:
        """Compute probabilities float32 [N, C] for colours uint8 [N, S, S, 3]."""
        import torch

        with torch.inference_mode():
            images = torch.as_tensor(pixels).to(self._device).permute(0, 3, 1, 2)  # channels last already
            normal = ((images / 255 - self._mean) / self._std).to(self._dtype)
            return self._model(normal).softmax(1).float().cpu().numpy()
