"""The card of an encoder's bundle: a network without a head, whose outputs are features."""

from dataclasses import dataclass

from cxr_ray.models.bundle import ModelCard

KIND = "encoder"


@dataclass(frozen=True, kw_only=True)
class EncoderCard(ModelCard):
    """Content of `model.json` in the bundle of an encoder; whole images are squashed to a square of `image_size`."""

    kind: str = KIND
    labels: tuple[str, ...] = ()
    """An encoder has no classes."""
    features: int
    """Number of features of an image."""
