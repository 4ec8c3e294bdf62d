"""Config of the job that trains student segmenters."""

from dataclasses import dataclass, field
from typing import Literal

from cxr_ray.config.checks import require
from cxr_ray.config.identity import MAY_CHANGE
from cxr_ray.config.training import TrainingJobConfig
from cxr_ray.errors import ConfigError

MOST_BEND = 0.1
"""Share of the side; by twice as much places would overtake one another."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainSegmenterConfig(TrainingJobConfig):
    """Train a student that segments at classification speed (MONAI's DynUNet), on true masks or on a teacher's."""

    dataset_uri: str = field(metadata=MAY_CHANGE)  # the fingerprint of its content counts
    """Dataset table of prepare_dataset.py; its `mask_uri` is learned, or only its splits if --masks-uri is given."""
    output_uri: str = field(metadata=MAY_CHANGE)
    """Folder that becomes the student's bundle; TensorBoard files and history.parquet go there as well."""
    masks_uri: str | None = None
    """Output of segment_archive.py, whose masks are learned and judged by in place of the dataset's."""
    uncertainty_quantile: float = 1.0
    """A teacher's masks that it is less sure of than this share of them are left out (see --uncertain); 1 keeps all."""
    uncertain: Literal["drop", "downweight"] = "drop"
    """Leave masks above the quantile out, or let them count a quarter."""

    image_size: int = 256
    """Pixels a side; images are squashed to a square, a multiple of 2 ** (levels - 1)."""
    filters: tuple[int, ...] = (32, 64, 128, 256, 320)
    """Channels of each level of the network, from full resolution down; each level halves it."""
    deep_supervision: int = 2
    """Levels above the output that learn as well, each with half the weight of the one below; 0 for none."""

    epochs: int = 60
    """Epochs, a multiple of --cycles."""
    steps: int = 0
    """Of an epoch, which goes over the train images as often as that takes, so that a training takes the same time however
    many there are; 0 for one pass over them."""
    cycles: int = 3
    """Times that the learning rate falls from its peak to nothing; what each cycle ends with joins the ensemble."""
    keep: int = 1
    """Epochs at the end of each cycle whose weights join the ensemble."""
    mirrored: float = 0.0
    """Size at which the bundle segments the mirror image of each radiograph as well, in a black margin if below 1: a
    steadier mean at twice the work; 0 for not at all."""
    batch_size: int = 8
    """Images on each worker at once."""
    learning_rate: float = 0.1
    """Peak rate of SGD."""
    momentum: float = 0.9
    """Of SGD, Nesterov's."""
    weight_decay: float = 3e-5
    """Of SGD."""
    warmup: float = 0.02
    """Share of the first cycle in which the rate rises."""
    gradient_clip: float = 12.0
    """Gradients of a larger norm are scaled down to it; 0 leaves them as they are."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the arithmetic; auto takes bf16 where the device has instructions for it, else fp32."""

    flip: float = 0.5
    """Probability of mirroring left to right."""
    rotate: float = 15.0
    """Degrees to either side."""
    translate: float = 0.08
    """Share of the side, along each axis."""
    scale: float = 0.2
    """Share by which an image grows or shrinks."""
    stretch: float = 0.0
    """Share by which the width grows or shrinks while the height does the reverse."""
    bend: float = 0.0
    """Share of the side by which places stray, smoothly, as shapes of bodies do."""
    brightness: float = 0.15
    """Share of the full range that is added or taken."""
    contrast: float = 0.3
    """Share by which distances from the mean grow or shrink."""
    gamma: float = 0.4
    """Range of the logarithm (base 2) of the exponent."""
    shade: float = 0.0
    """Share of the full range by which parts brighten or darken, smoothly, as opacities do."""
    erase: float = 0.0
    """Probability that a rectangle of an image is erased; its mask stays, so that shapes are learned as well."""

    def __post_init__(self) -> None:
        """Check ranges."""
        TrainingJobConfig.__post_init__(self)  # super() has no class to go by in a class with slots
        for name in ("epochs", "cycles", "keep", "batch_size"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        require(self.epochs % self.cycles == 0, "epochs", self.epochs, f"a multiple of --cycles {self.cycles}")
        require(self.keep <= self.epochs // self.cycles, "keep", self.keep, "<= the epochs of a cycle")
        require(len(self.filters) >= 3 and min(self.filters) >= 1, "filters", self.filters, "three levels or more")
        multiple = 2 ** (len(self.filters) - 1)
        require(self.image_size >= 2 * multiple, "image_size", self.image_size, f">= {2 * multiple} for these levels")
        require(self.image_size % multiple == 0, "image_size", self.image_size, f"a multiple of {multiple}")
        most = len(self.filters) - 2
        require(0 <= self.deep_supervision <= most, "deep_supervision", self.deep_supervision, f"0 to {most}")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        require(0 < self.momentum < 1, "momentum", self.momentum, "above 0 and below 1")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "in [0, 1)")
        if not self.masks_uri and (self.uncertainty_quantile < 1 or self.uncertain != "drop"):
            raise ConfigError(
                "uncertainty_quantile and uncertain choose among a teacher's masks; name them by --masks-uri"
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
        require(0 <= self.bend <= MOST_BEND, "bend", self.bend, f"in [0, {MOST_BEND}], so that nothing folds")
        for name in ("translate", "scale"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
