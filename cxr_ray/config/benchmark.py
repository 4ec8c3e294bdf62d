"""Configs of the benchmarks."""

from dataclasses import dataclass
from typing import Literal

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkConfig:
    """Measure what scoring an archive reaches, beside its limit and beside a plain DataLoader loop, in one run."""

    input_uri: str
    """Folder, prefix or manifest; all of its images are scored."""
    model_uri: str
    """A model bundle."""
    output_uri: str | None = None
    """Folder that receives benchmark.json and the rows scored; a temporary one if not given."""
    repeats: int = 3
    """Times that limit, job and peer are measured in turn; medians are reported."""
    peer_images: int = 320
    """Images that the plain loops and the limit are measured on."""
    batch_size: int | None = None
    """Images a forward pass, as in classify_archive.py."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """As in classify_archive.py."""
    dollars_per_hour: float | None = None
    """Price of this cluster; the cost of a million images is reported if given."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.repeats >= 1, "repeats", self.repeats, ">= 1")
        require(self.peer_images >= 1, "peer_images", self.peer_images, ">= 1")
        require(self.batch_size is None or self.batch_size >= 1, "batch_size", self.batch_size, ">= 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkTrainingConfig:
    """Measure what one worker reaches through Ray Train, beside a plain torch loop with the same model and batch."""

    dataset_uri: str
    """Dataset table of prepare_dataset.py; its train images are learned, nothing is kept."""
    output_uri: str | None = None
    """Folder that receives benchmark.json; it is printed only if not given."""
    backbone: tuple[Literal["vit_b16", "resnet50", "efficientnet_b0", "densenet121"], ...] = ("efficientnet_b0",)
    """Architectures, one after the other."""
    image_size: int = 224
    """Pixels a side."""
    batch_size: int = 32
    """Images a step."""
    epochs: int = 3
    """Passes over the images in each repeat; the first warms up and is not counted."""
    repeats: int = 3
    """Times that both are measured in turn; medians are reported."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """As in train_classifier.py."""
    compile: bool = False
    """As in train_classifier.py."""
    use_gpu: bool = False
    """As in train_classifier.py."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.epochs >= 2, "epochs", self.epochs, ">= 2, for the first is not counted")
        require(self.repeats >= 1, "repeats", self.repeats, ">= 1")
        require(self.batch_size >= 1, "batch_size", self.batch_size, ">= 1")
        require(self.image_size >= 32, "image_size", self.image_size, ">= 32")
