"""Segmenters that turn uint8 radiographs into foreground probabilities and lung masks; Ray is not used."""

import json
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from cxr_ray.errors import ImageError
from cxr_ray.imaging.radiograph import Radiograph
from cxr_ray.models.bundle import load_weights, read_card
from cxr_ray.models.engines.engine import EngineName, ForwardPass
from cxr_ray.models.engines.fastest_engine import fastest_engine
from cxr_ray.models.lung_segmentation import LungSegmentation, segmentations_of
from cxr_ray.models.precision import Precision, default_device
from cxr_ray.models.segmenter_ensemble import SegmenterCard, load_members, suited_to_cpu
from cxr_ray.schema import NOT_FINITE

if TYPE_CHECKING:
    import torch

    from cxr_ray.models.pixel_networks import PixelSegmenter

STRAY_PIXELS = 0.005
"""Fraction of the pixels whose probability an engine may compute with less accuracy: steep edges, in bf16."""


class Segmenter:
    """A segmenter, which is an ensemble of networks, on one device; `segment` and `predict` are a stable interface.

    Args:
        uri: URI of the segmenter's bundle, which train_segmenter writes.
        device: `cpu`, `cuda` or `cuda:N`; None takes a GPU if there is one, else the CPU.
        precision: precision of the forward pass; `auto` takes bf16 where the engine and the device have it natively, else
            fp32. fp32 is the reference.
        engine: program that computes the forward pass, see `fastest_engine`. For a few images torch is the quickest,
            because it starts at once.
        threads: number of threads on a CPU; None leaves it to the engine.

    Raises:
        BundleError: if the bundle is missing or altered, or its weights do not fit its architecture.
        EngineError: if the engine that is named is not there, or cannot compute the segmenter.
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
        import torch

        self.card = read_card(uri, SegmenterCard)
        self.device = torch.device(device or default_device())
        self.engine = fastest_engine(
            forward_pass(uri, self.card, self.device.type),
            engine=engine,
            device=str(self.device),
            precision=precision,
            threads=threads,
        )
        self.precision = self.engine.precision

    def segment(
        self, image: Radiograph, *, foreground: float = 0.5, components: int = 2, min_area: float = 0.005
    ) -> LungSegmentation:
        """Segment the lungs of one radiograph, with the numbers that `segment_archive` writes for this file and options.

        Args:
            image: a radiograph of `load_image`.
            foreground: probability above which a pixel belongs to the mask, between 0 and 1.
            components: maximum number of connected components that are kept, 1 to 255, the largest by area.
            min_area: fraction of the image that a component must cover, 0 to 1.

        Raises:
            ImageError: if the model gives NaN or infinity for this image.
            ValueError: if an option is out of its range.
        """
        if not 0 < foreground < 1:
            raise ValueError(f"foreground must be above 0 and below 1; got {foreground}")
        probability = self.predict(image.squashed(self.card.image_size, self.card.interpolation)[None])
        size = [(image.height, image.width)]
        (found,) = segmentations_of(probability, size, foreground=foreground, components=components, min_area=min_area)
        if found is None:
            raise ImageError(image.name, NOT_FINITE["error_kind"], NOT_FINITE["error"])
        return found

    def predict(self, pixels: np.ndarray) -> "torch.Tensor":
        """Mean foreground probability over the networks and the views of the card, float32 [N, S, S] on the device.

        Args:
            pixels: uint8 [N, S, S], whole images squashed to a square, where S is `image_size` of the card.
        """
        import torch

        return torch.from_numpy(self.engine(pixels)).to(self.device)


def forward_pass(uri: str, card: SegmenterCard, device_type: str) -> ForwardPass:
    """The forward pass of the segmenter in the bundle at `uri`, whose card is `card`, for an engine on `cpu` or `cuda`."""
    return ForwardPass(
        name=card.model_id,
        identity=json.dumps([card.weights_sha256, card.preprocessing_id, card.filters, card.members, device_type]),
        image_size=card.image_size,
        build=partial(build_pixel_segmenter, uri, card, device_type),
        stray_fraction=STRAY_PIXELS,
    )


def build_pixel_segmenter(uri: str, card: SegmenterCard, device_type: str) -> "PixelSegmenter":
    """Load the networks of the segmenter's bundle at `uri`, in eval mode on the CPU, with what prepares their pixels.

    Raises:
        BundleError: if the weights are missing or altered, or do not fit the networks of `card`.
    """
    from cxr_ray.models.pixel_networks import PixelSegmenter

    members = load_members(uri, card, load_weights(uri, card))
    if device_type == "cpu":
        members = [suited_to_cpu(member) for member in members]
    return PixelSegmenter(members, card).eval()
