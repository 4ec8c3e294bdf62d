"""Config of the job that predicts images named on the command line."""

from dataclasses import dataclass
from typing import Annotated, Literal

import tyro

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class PredictConfig:
    """Classify a few images, and segment their lungs, in this process: no Ray cluster is started."""

    images: Annotated[
        tyro.conf.Positional[tuple[str, ...]],
        tyro.conf.arg(metavar="IMAGE [IMAGE ...]", help_behavior_hint="(required)"),
    ]
    """One or more radiographs, as paths or URIs, in any format that the other jobs read."""
    model_uri: str
    """Classifier bundle of train_classifier.py."""
    segmenter_uri: str | None = None
    """Segmenter bundle of train_segmenter.py; if not given, no lungs are outlined."""
    output_uri: str | None = None
    """Folder that receives a picture of each image with its probabilities, outline and heat map; if not given, no file
    is written."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that runs the models; auto uses a GPU if there is one, and the CPU otherwise."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Floating-point precision; auto uses bf16 where the device supports it natively, and fp32 elsewhere."""
    max_megapixels: float = 100.0
    """Images with more megapixels are refused, before any pixel is decoded."""
    max_megabytes: int = 512
    """Files of more megabytes, on disk or decoded, are refused."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check that at least one image is named, and that the limits are in range."""
        require(bool(self.images), "images", self.images, "at least one path or URI of a radiograph")
        require(self.max_megapixels > 0, "max_megapixels", self.max_megapixels, "> 0")
        require(self.max_megabytes > 0, "max_megabytes", self.max_megabytes, "> 0")
