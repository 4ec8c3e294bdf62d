"""Configs of the jobs that train."""

from dataclasses import dataclass, field
from typing import Literal

from cxr_ray.config.checks import require
from cxr_ray.config.identity import MAY_CHANGE
from cxr_ray.errors import ConfigError

REFERENCE_BATCH = 32
"""Images a step for which learning rates are given; see `scale_learning_rate`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJobConfig:
    """What the jobs that train through Ray Train have in common."""

    dataset_uri: str = field(metadata=MAY_CHANGE)  # the fingerprint of its content counts
    """Dataset table of prepare_dataset.py."""
    output_uri: str = field(metadata=MAY_CHANGE)
    """Folder that becomes the model bundle; TensorBoard files and history.parquet go there as well."""
    overwrite: bool = field(default=False, metadata=MAY_CHANGE)
    """Start over, whatever an earlier training left in the output."""

    num_workers: int | str = field(default=1, metadata=MAY_CHANGE)
    """Workers, data parallel: a number, or MIN..MAX for as many as the cluster has at any time."""
    use_gpu: bool = field(default=False, metadata=MAY_CHANGE)
    """Give each worker a GPU."""
    max_failures: int = field(default=3, metadata=MAY_CHANGE)
    """Times that lost workers are replaced, each time from the last epoch; preempted machines do not count."""

    seed: int = 0
    """Of initial weights, order and augmentation."""
    debug: bool = field(default=False, metadata=MAY_CHANGE)
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges."""
        least, most = self.worker_range
        require(1 <= least <= most, "num_workers", self.num_workers, "N or MIN..MAX with 1 <= MIN <= MAX")
        require(self.max_failures >= 0, "max_failures", self.max_failures, ">= 0")
        require(self.seed >= 0, "seed", self.seed, ">= 0")

    @property
    def worker_range(self) -> tuple[int, int]:
        """Least and most workers.

        Raises:
            ConfigError: if `num_workers` is neither N nor MIN..MAX.
        """
        ends = str(self.num_workers).split("..")
        if len(ends) > 2 or not all(end.strip().isdecimal() for end in ends):
            raise ConfigError(f"num_workers must be N or MIN..MAX; got {self.num_workers}")
        return int(ends[0]), int(ends[-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainClassifierConfig(TrainingJobConfig):
    """Train a classifier with Ray Train; the bundle of the best epoch is what comes out."""

    backbone: Literal["vit_b16", "resnet50", "efficientnet_b0", "densenet121"] = "efficientnet_b0"
    """Architecture."""
    image_size: int = 224
    """Pixels a side; images are squashed to a square."""
    sweep: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Recipes to train each in a folder of its own below the output, as many at once as the cluster holds."""
    weights_uri: str | None = None
    """Weights to start from: a bundle, or a safetensors file or state dict of timm or torchvision."""
    pretrained: bool = False
    """Start from timm's ImageNet weights; needs a machine that reaches its hub."""
    freeze_epochs: int = 0
    """Epochs at the start in which only the head learns."""

    feed: Literal["auto", "cache", "stream"] = field(default="auto", metadata=MAY_CHANGE)
    """Decode once into the cluster's memory, or anew in every epoch; auto decodes once where all images fit."""

    epochs: int = 50
    """Passes over the training images."""
    batch_size: int = 32
    """Images on each worker at once."""
    accumulate: int = 1
    """Batches whose gradients make one step."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the arithmetic; auto takes bf16 where the device has instructions for it, else fp32."""
    compile: bool = field(default=False, metadata=MAY_CHANGE)
    """Compile the model with torch.compile; needs a C++ compiler on the workers."""

    schedule: Literal["cosine", "plateau"] | None = None
    """Learning rate: warm-up and cosine, or halved after 7 epochs without progress; cosine for random weights if not given."""
    warmup: float = 0.3
    """Share of the training in which the rate of the cosine schedule rises."""
    learning_rate: float | None = None
    """Peak rate for 32 images a step; if not given, 1e-4 for plateau, and for cosine what suits the backbone."""
    scale_learning_rate: bool = True
    """Let the rate grow in proportion to the images a step of all workers."""
    weight_decay: float = 0.01
    """Of AdamW."""
    gradient_clip: float = 1.0
    """Gradients of a larger norm are scaled down to it; 0 leaves them as they are."""
    ema_decay: float = 0.0
    """Average the weights over steps with this decay, and validate and keep the average; 0 for none."""
    early_stopping_patience: int = 10
    """Epochs without a better validation loss after which training ends."""

    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes; 0 for plain cross-entropy."""
    class_balance: Literal["none", "loss", "sampling"] = "none"
    """Let rare classes weigh more in the loss, or be drawn more often."""
    balance_power: float = 1.0
    """1 for classes of equal weight, 0.5 for half the way on a logarithmic scale."""

    flip: float = 0.5
    """Probability of mirroring an image left to right."""
    rotate: float = 0.0
    """Degrees to either side."""
    translate: float = 0.0
    """Share of the side."""
    scale: float = 0.0
    """Share by which an image grows or shrinks."""
    brightness: float = 0.0
    """Share of the full range that is added or taken."""
    contrast: float = 0.0
    """Share by which grey values move from or to their mean."""
    gamma: float = 0.0
    """Range of the logarithm (base 2) of the exponent."""
    erase: float = 0.0
    """Probability that a rectangle of an image is erased."""
    mixup: float = 0.0
    """Parameter of the beta distribution by which images are mixed in pairs; 0 for none."""

    def __post_init__(self) -> None:
        """Check ranges."""
        TrainingJobConfig.__post_init__(self)  # super() has no class to go by in a class with slots
        for name in ("epochs", "batch_size", "accumulate", "early_stopping_patience"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        for name in ("freeze_epochs", "gradient_clip", "weight_decay", "balance_power"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        for name in ("rotate", "brightness", "contrast", "gamma", "mixup"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        for name in ("label_smoothing", "ema_decay", "warmup", "scale", "translate"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("flip", "erase"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        require(self.image_size >= 32, "image_size", self.image_size, ">= 32")
        require(self.learning_rate is None or self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        if self.weights_uri and self.pretrained:
            raise ConfigError(
                f"weights_uri {self.weights_uri} and pretrained both name weights to start from; drop one"
            )
        if self.feed == "stream" and self.class_balance == "sampling":
            raise ConfigError(
                "class_balance sampling draws from images in memory; use class_balance loss with feed stream"
            )

    @property
    def chosen_schedule(self) -> Literal["cosine", "plateau"]:
        """The schedule, with the default that suits the weights training starts from."""
        return self.schedule or ("plateau" if self.pretrained or self.weights_uri else "cosine")
