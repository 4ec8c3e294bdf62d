"""Configs of the benchmarks."""

from dataclasses import dataclass
from typing import Literal

from cxr_ray.config.backbones import BackboneNames, require_backbone
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
class BenchmarkCascadeConfig:
    """Measure segmenting by a student beside its forward pass alone, and the cascade beside both of its jobs, in one run."""

    input_uri: str
    """Folder, prefix or manifest; all of its images are scored by each job."""
    classifier_uri: str
    """A classifier's bundle."""
    segmenter_uri: str
    """A student's bundle."""
    segment_labels: tuple[str, ...] = ()
    """Classes whose images the cascade segments, as in score_archive.py; all if none is named."""
    output_uri: str | None = None
    """Folder that receives benchmark.json and the rows; a temporary one if not given."""
    repeats: int = 3
    """Times that all is measured in turn; medians are reported."""
    forward_images: int = 320
    """Images that the forward pass alone is measured on."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """As in score_archive.py."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.repeats >= 1, "repeats", self.repeats, ">= 1")
        require(self.forward_images >= 1, "forward_images", self.forward_images, ">= 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkTrainingConfig:
    """Measure what one worker reaches through Ray Train, beside a plain torch loop with the same model and batch."""

    dataset_uri: str
    """Dataset table of prepare_dataset.py; its train images are learned, nothing is kept."""
    output_uri: str | None = None
    """Folder that receives benchmark.json; it is printed only if not given."""
    backbone: BackboneNames = ("efficientnet_b0",)
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
        for name in self.backbone:
            require_backbone(name)
        require(self.epochs >= 2, "epochs", self.epochs, ">= 2, for the first is not counted")
        require(self.repeats >= 1, "repeats", self.repeats, ">= 1")
        require(self.batch_size >= 1, "batch_size", self.batch_size, ">= 1")
        require(self.image_size >= 32, "image_size", self.image_size, ">= 32")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkSegmentationConfig:
    """Measure time and memory of each stage of segmentation by text, and saliency beside the published loop, in one run."""

    input_uri: str
    """Folder or prefix of radiographs, or a manifest."""
    output_uri: str | None = None
    """Folder that receives benchmark.json; it is printed only if not given."""
    clip_uri: str | None = None
    """BiomedCLIP as in segment_archive.py; of its published sizes with random weights, which take as long, if not given."""
    sam_uri: str | None = None
    """SAM likewise."""
    sam_type: Literal["vit_b", "vit_l", "vit_h"] = "vit_b"
    """Sizes of the SAM of random weights."""
    images: int = 16
    """How many are segmented, in one batch."""
    peer_images: int = 2
    """How many of them the published loop is run on, which takes minutes for each on a CPU; 0 leaves it out."""
    repeats: int = 3
    """Times that all is measured in turn; medians are reported."""
    layer: int = 7
    """As in segment_archive.py."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of our stages; the published loop runs in fp32, as it was published."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes a GPU if there is one."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.images >= 1, "images", self.images, ">= 1")
        require(0 <= self.peer_images <= self.images, "peer_images", self.peer_images, "0 to --images")
        require(self.repeats >= 1, "repeats", self.repeats, ">= 1")
        require(self.layer >= 0, "layer", self.layer, ">= 0")
