"""Config of the job that trains segmenters."""

from dataclasses import dataclass, field
from typing import Literal

from cxr_ray.config.checks import require
from cxr_ray.config.identity import MAY_CHANGE
from cxr_ray.config.training import TrainingJobConfig
from cxr_ray.errors import ConfigError

MAX_BEND = 0.1
"""Maximum of --bend, as a fraction of the image's side; at twice this value the deformation would fold the image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSegmenterConfig(TrainingJobConfig):
    """Train a segmenter that runs at the speed of a classifier (nnU-Net's plain U-Net), on true masks or on masks of segment_archive.py."""

    dataset_uri: str = field(metadata=MAY_CHANGE)  # the fingerprint of its content is part of the identity
    """Dataset of prepare_dataset.py; the masks it names are learned, or only its splits are used if --masks-uri is
    given."""
    output_uri: str = field(metadata=MAY_CHANGE)
    """Folder that becomes the segmenter bundle; it also receives TensorBoard files and history.parquet."""
    masks_uri: str | None = None
    """Output of segment_archive.py (the teacher), whose masks replace those of the dataset, in training and in
    validation."""
    uncertainty_quantile: float = 1.0
    """Drop masks whose teacher uncertainty lies above this quantile (above 0, at most 1) of the train split; 1 keeps
    all."""
    uncertain: Literal["drop", "downweight"] = "drop"
    """What happens to masks above --uncertainty-quantile: drop leaves them out, downweight lets each count a quarter."""

    image_size: int = 256
    """Pixels per side of the square to which images are resized; a multiple of 2 ** (number of levels - 1)."""
    filters: tuple[int, ...] = (32, 64, 128, 256, 320)
    """Channels of each level of the network, at least three levels; the first level has full resolution, and each
    further one has half of the previous."""
    deep_supervision: int = 2
    """Number of levels of lower resolution that also contribute to the loss, each with half the weight of the previous
    one; 0 uses the output alone."""

    epochs: int = 60
    """Number of epochs; a multiple of --cycles."""
    steps: int = 0
    """Steps per epoch, independent of the size of the dataset; 0 means one pass."""
    cycles: int = 3
    """Number of cycles in which the learning rate falls from its peak to 0; the network at the end of each cycle joins
    the ensemble."""
    keep: int = 1
    """Number of epochs at the end of each cycle whose weights join the ensemble."""
    mirrored: float = 0.0
    """Size (0.5 to 1) at which the bundle also segments the mirror image of each radiograph, in a black margin if below
    1, and averages both results; this doubles the work. 0 turns it off."""
    batch_size: int = 8
    """Images per worker and step."""
    learning_rate: float = 0.1
    """Peak learning rate of SGD."""
    momentum: float = 0.9
    """Nesterov momentum of SGD (above 0, below 1)."""
    weight_decay: float = 3e-5
    """Weight decay of SGD."""
    warmup: float = 0.02
    """Fraction of the first cycle (0 to below 1) in which the learning rate rises to its peak."""
    gradient_clip: float = 12.0
    """Maximum norm of the gradient; a larger gradient is scaled down to it, and 0 turns clipping off."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Floating-point precision; auto uses bf16 where the device supports it natively, and fp32 elsewhere."""

    flip: float = 0.5
    """Probability (0 to 1) of mirroring an image left to right."""
    rotate: float = 15.0
    """Maximum rotation in degrees, to either side."""
    translate: float = 0.08
    """Maximum shift along each axis, as a fraction of the image's side (0 to below 1)."""
    scale: float = 0.2
    """Maximum change of size, as a fraction (0 to below 1); 0.1 means 0.9 to 1.1 times the size."""
    stretch: float = 0.0
    """Maximum change of proportions, as a fraction; 0.2 means a width of up to 1.2 times and a height of 1 / 1.2 times,
    or the reverse."""
    bend: float = 0.0
    """Maximum shift of a smooth random deformation, as a fraction of the image's side (0 to 0.1)."""
    brightness: float = 0.15
    """Maximum change of brightness, as a fraction of the full grey range."""
    contrast: float = 0.3
    """Maximum change of contrast, as a fraction; 0.2 means that differences from the mean grey become 0.8 to 1.2 times
    as large."""
    gamma: float = 0.4
    """Maximum change of gamma, as a power of two; 0.2 means exponents from 2**-0.2 to 2**0.2."""
    shade: float = 0.0
    """Maximum change of brightness by smooth random shadows, as a fraction of the full grey range; they imitate
    opacities."""
    erase: float = 0.0
    """Probability (0 to 1) that a rectangle of 2 to 20 % of the image is replaced by the mean grey; its mask stays, so
    that the network learns shapes too."""

    def __post_init__(self) -> None:
        """Check ranges."""
        TrainingJobConfig.__post_init__(self)  # super() without arguments fails in a dataclass with slots
        for name in ("epochs", "cycles", "keep", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        require(self.epochs % self.cycles == 0, "epochs", self.epochs, f"a multiple of --cycles {self.cycles}")
        per_cycle = self.epochs // self.cycles
        require(self.keep <= per_cycle, "keep", self.keep, f"<= {per_cycle}, the number of epochs of a cycle")
        require(
            len(self.filters) >= 3 and min(self.filters) >= 1, "filters", self.filters, "three or more numbers >= 1"
        )
        multiple = 2 ** (len(self.filters) - 1)
        require(
            self.image_size >= 2 * multiple,
            "image_size",
            self.image_size,
            f">= {2 * multiple} for {len(self.filters)} levels",
        )
        require(
            self.image_size % multiple == 0,
            "image_size",
            self.image_size,
            f"a multiple of {multiple} for {len(self.filters)} levels",
        )
        maximum = len(self.filters) - 2
        require(0 <= self.deep_supervision <= maximum, "deep_supervision", self.deep_supervision, f"0 to {maximum}")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        require(0 < self.momentum < 1, "momentum", self.momentum, "above 0 and below 1")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "in [0, 1)")
        if not self.masks_uri and (self.uncertainty_quantile < 1 or self.uncertain != "drop"):
            raise ConfigError(
                f"uncertainty_quantile {self.uncertainty_quantile} and uncertain {self.uncertain} choose among the masks of a "
                "teacher; give its output by --masks-uri"
            )
        require(0 < self.uncertainty_quantile <= 1, "uncertainty_quantile", self.uncertainty_quantile, "in (0, 1]")
        if self.uncertain != "drop" and self.uncertainty_quantile == 1:
            raise ConfigError(f"uncertain {self.uncertain} changes nothing without --uncertainty-quantile below 1")
        require(self.steps >= 0, "steps", self.steps, ">= 0")
        for name in ("weight_decay", "gradient_clip", "rotate", "stretch", "brightness", "contrast", "gamma", "shade"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        for name in ("flip", "erase"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        require(self.mirrored == 0 or 0.5 <= self.mirrored <= 1, "mirrored", self.mirrored, "0, or in [0.5, 1]")
        require(0 <= self.bend <= MAX_BEND, "bend", self.bend, f"in [0, {MAX_BEND}], so that the image does not fold")
        for name in ("translate", "scale"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
