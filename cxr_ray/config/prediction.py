"""Config of the job that scores pictures named on the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictConfig:
    """Classify pictures, and segment their lungs, in this process and without a cluster."""

    images: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint="(required)"),
    ]
    """One or more radiographs as paths or URIs: PNG, JPEG or DICOM."""
    model_uri: str
    """Classifier: a model bundle of train_classifier.py."""
    segmenter_uri: str | None = None
    """Lung segmenter: a model bundle of train_segmenter.py; without one no lungs are outlined."""
    output_uri: str | None = None
    """Folder that receives a picture of each image with its probabilities, outlines and heat map; nothing is written without it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that computes; auto takes a GPU where there is one."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Floating-point precision; auto uses bf16 where the device supports it natively."""
    max_megapixels: float = 100.0
    """Refuse larger images as `too_large`; their pixels are never allocated."""
    max_megabytes: int = 512
    """Refuse larger files as `too_large`."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check that there are images, and the limits."""
        require(bool(self.images), "images", self.images, "at least one path or URI of a radiograph")
        require(self.max_megapixels > 0, "max_megapixels", self.max_megapixels, "> 0")
        require(self.max_megabytes > 0, "max_megabytes", self.max_megabytes, "> 0")
