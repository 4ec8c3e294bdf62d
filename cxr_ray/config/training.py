"""Options of every job that trains through Ray Train, and the config of the job that trains classifiers."""

import re
from dataclasses import dataclass, field
from typing import Literal

from cxr_ray.config.backbones import BACKBONES, BackboneName, require_backbone
from cxr_ray.config.checks import require, require_default
from cxr_ray.config.identity import MAY_CHANGE
from cxr_ray.errors import ConfigError

REFERENCE_BATCH = 32
"""Number of images per step that learning rates refer to; `scale_learning_rate` adapts them to other numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingJobConfig:
    """Options of every job that trains through Ray Train."""

    dataset_uri: str = field(metadata=MAY_CHANGE)  # the fingerprint of its content is part of the identity
    """Dataset of prepare_dataset.py: a Parquet file or a folder of Parquet files."""
    output_uri: str = field(metadata=MAY_CHANGE)
    """Folder that becomes the model bundle; it also receives TensorBoard files and history.parquet."""
    overwrite: bool = field(default=False, metadata=MAY_CHANGE)
    """Delete what an earlier training left in the output, and start over."""

    num_workers: int | str = field(default=1, metadata=MAY_CHANGE)
    """Number of data-parallel workers: N, or MIN..MAX for as many as the cluster can hold at any time."""
    use_gpu: bool = field(default=False, metadata=MAY_CHANGE)
    """Give each worker one GPU; without this option workers use CPUs."""
    max_wait_minutes: float = field(default=30.0, metadata=MAY_CHANGE)
    """Minutes that the training waits for nodes with room for its workers, before it ends."""
    max_failures: int = field(default=3, metadata=MAY_CHANGE)
    """How often lost workers are replaced before the training fails; each replacement repeats the running epoch.
    Preempted machines do not count."""

    seed: int = 0
    """Seed of the initial weights, the order of the images and the augmentation."""
    debug: bool = field(default=False, metadata=MAY_CHANGE)
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        minimum, maximum = self.worker_range
        require(1 <= minimum <= maximum, "num_workers", self.num_workers, "N or MIN..MAX with 1 <= MIN <= MAX")
        require(self.max_wait_minutes >= 0, "max_wait_minutes", self.max_wait_minutes, ">= 0")
        require(self.max_failures >= 0, "max_failures", self.max_failures, ">= 0")
        require(self.seed >= 0, "seed", self.seed, ">= 0")

    @property
    def worker_range(self) -> tuple[int, int]:
        """Minimum and maximum number of workers.

        Raises:
            ConfigError: if `num_workers` is neither N nor MIN..MAX.
        """
        ends = str(self.num_workers).split("..")
        if len(ends) > 2 or not all(end.strip().isdecimal() for end in ends):
            raise ConfigError(f"num_workers must be N or MIN..MAX; got {self.num_workers}")
        return int(ends[0]), int(ends[-1])


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainClassifierConfig(TrainingJobConfig):
    """Train a classifier with Ray Train; the weights of the best epoch on the val split are saved as a model bundle."""

    task: Literal["multiclass", "multilabel"] = "multiclass"
    """What the classifier predicts: multiclass one class of each image, multilabel any number of findings, for a dataset that
    prepare_dataset.py made with --labels-uri."""
    findings: tuple[str, ...] = ()
    """Findings that a multilabel classifier learns; if none is given, all of the dataset."""
    uncertain: Literal["ignore", "positive", "negative", "smoothed"] = "ignore"
    """How uncertain labels of findings are learned: not at all, as present, as absent, or smoothed as present with a
    probability of 0.7. They never count in validation, and neither do missing ones anywhere."""
    label_weights: tuple[str, ...] = ()
    """Weights of findings in the loss, FINDING=NUMBER; others have the weight 1."""
    backbone: BackboneName = "efficientnet_b0"
    """Network architecture."""
    image_size: int = 224
    """Pixels per side of the square to which images are resized, at least 32."""
    sweep: tuple[str, ...] = field(default=(), metadata=MAY_CHANGE)
    """Recipes to train, each into the folder OUTPUT/RECIPE_NAME, as many at once as the cluster can hold; other flags
    override every recipe."""
    weights_uri: str | None = None
    """Weights to start from: a bundle, or a safetensors file or state dict of timm or torchvision; the head and image
    size may differ."""
    pretrained: bool = False
    """Start from ImageNet weights of timm, which are downloaded; --weights-uri does the same from a file."""
    freeze_epochs: int = 0
    """Number of epochs at the start in which only the last layer (the head) learns."""

    feed: Literal["auto", "cache", "stream"] = field(default="auto", metadata=MAY_CHANGE)
    """Where training images come from: cache decodes them once into the memory of the cluster, stream decodes them in
    every epoch; auto uses cache if all images fit."""

    epochs: int = 50
    """Maximum number of passes over the training images; see --early-stopping-patience."""
    batch_size: int = 32
    """Images per worker and forward pass."""
    accumulate: int = 1
    """Number of batches whose gradients are added up before each step of the optimiser."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Floating-point precision; auto uses bf16 where the device supports it natively, and fp32 elsewhere."""
    compile: bool = field(default=False, metadata=MAY_CHANGE)
    """Compile the model with torch.compile; this needs a C++ compiler on the workers."""

    schedule: Literal["cosine", "plateau"] | None = None
    """Learning-rate schedule: cosine rises to the peak and falls to 0, plateau halves the rate after 7 epochs without a
    better validation loss. If not given, cosine for random weights and plateau for other weights."""
    warmup: float = 0.3
    """Fraction of the training (0 to below 1) in which the learning rate rises to its peak; only for the cosine
    schedule."""
    learning_rate: float | None = None
    """Peak learning rate for 32 images per step; if not given, 1e-4 for plateau, and for cosine a rate that suits the
    backbone."""
    scale_learning_rate: bool = True
    """Multiply the learning rate by the images per step of all workers, divided by 32."""
    weight_decay: float = 0.01
    """Weight decay of the optimiser AdamW."""
    decay_all: bool = True
    """Apply the weight decay to biases and normalisation layers, too; recipes for fine-tuning leave them out."""
    layer_decay: float = 1.0
    """Factor (above 0, to 1) by which the learning rate falls from each layer to the one below it; 1 gives all layers the
    same rate."""
    dropout: float = 0.0
    """Probability (0 to below 1) with which a feature is set to 0 before the head."""
    drop_path: float = 0.0
    """Stochastic depth: probability (0 to below 1) with which the last residual block is skipped; those before it are
    skipped less often."""
    gradient_clip: float = 1.0
    """Maximum norm of the gradient; a larger gradient is scaled down to it, and 0 turns clipping off."""
    ema_decay: float = 0.0
    """Decay (0 to below 1) of a moving average of the weights, which is then validated and saved instead of them; 0
    turns it off."""
    best_by: Literal["accuracy", "macro_f1", "auroc", "loss"] | None = None
    """Metric of the val split by which the epoch is chosen whose weights are saved; if not given, accuracy, and auroc for
    findings."""
    early_stopping_patience: int = 10
    """Number of epochs without a better --stop-by after which the training ends."""
    stop_by: Literal["loss", "accuracy", "macro_f1", "auroc"] = "loss"
    """Metric of the val split that --early-stopping-patience follows; the published recipe follows the accuracy."""

    label_smoothing: float | None = None
    """Fraction of the target (0 to below 1) that is spread over all classes; 0 means plain cross-entropy. If not given, 0.1, and
    0 for findings."""
    class_balance: Literal["none", "loss", "sampling"] = "none"
    """How rare classes are balanced: loss gives them more weight in the loss, sampling draws their images more often. Of each
    finding, loss balances presence and absence."""
    balance_power: float = 1.0
    """Strength of --class-balance: 1 makes all classes count equally, 0.5 goes half the way on a logarithmic scale, 0
    changes nothing."""

    flip: float = 0.5
    """Probability (0 to 1) of mirroring an image left to right."""
    rotate: float = 0.0
    """Maximum rotation in degrees, to either side."""
    translate: float = 0.0
    """Maximum shift along each axis, as a fraction of the image's side (0 to below 1)."""
    scale: float = 0.0
    """Maximum change of size, as a fraction (0 to below 1); 0.1 means 0.9 to 1.1 times the size."""
    brightness: float = 0.0
    """Maximum change of brightness, as a fraction of the full grey range."""
    contrast: float = 0.0
    """Maximum change of contrast, as a fraction; 0.2 means that differences from the mean grey become 0.8 to 1.2 times
    as large."""
    gamma: float = 0.0
    """Maximum change of gamma, as a power of two; 0.2 means exponents from 2**-0.2 to 2**0.2."""
    erase: float = 0.0
    """Probability (0 to 1) that a rectangle of 2 to 20 % of the image is replaced by the mean grey."""
    mixup: float = 0.0
    """Parameter alpha of mixup: the weights with which images are mixed in pairs are drawn from a beta distribution; 0
    turns mixup off."""

    def __post_init__(self) -> None:
        """Check ranges."""
        TrainingJobConfig.__post_init__(self)  # super() without arguments fails in a dataclass with slots
        require_backbone(self.backbone)
        for name in ("epochs", "batch_size", "accumulate", "early_stopping_patience"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        for name in ("freeze_epochs", "gradient_clip", "weight_decay", "balance_power"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        for name in ("rotate", "brightness", "contrast", "gamma", "mixup"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        smoothing = self.label_smoothing
        require(smoothing is None or 0 <= smoothing < 1, "label_smoothing", smoothing, "in [0, 1)")
        for name in ("ema_decay", "warmup", "scale", "translate", "dropout", "drop_path"):
            require(0 <= getattr(self, name) < 1, name, getattr(self, name), "in [0, 1)")
        for name in ("flip", "erase"):
            require(0 <= getattr(self, name) <= 1, name, getattr(self, name), "in [0, 1]")
        require(0 < self.layer_decay <= 1, "layer_decay", self.layer_decay, "above 0, and at most 1")
        skips = self.drop_path == 0 or BACKBONES[self.backbone].skips_blocks
        require(skips, "drop_path", self.drop_path, f"0 for {self.backbone}, which has no residual blocks")
        require(self.image_size >= 32, "image_size", self.image_size, ">= 32")
        require(self.learning_rate is None or self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        if self.weights_uri and self.pretrained:
            raise ConfigError(
                f"weights_uri {self.weights_uri} and pretrained both name weights to start from; remove one of them"
            )
        require(
            self.freeze_epochs <= self.epochs, "freeze_epochs", self.freeze_epochs, f"at most epochs, {self.epochs}"
        )
        self._check_task()
        if self.class_balance == "none":
            require_default(self, "balance_power", needs="class_balance loss or sampling")
        if self.feed == "stream" and self.class_balance == "sampling":
            raise ConfigError(
                "class_balance sampling needs images in memory, and feed stream keeps none; use class_balance loss, or feed cache"
            )

    def _check_task(self) -> None:
        self.weights_of_labels()
        if self.task == "multiclass":
            require_default(self, "findings", "uncertain", "label_weights", needs="task multilabel")
        elif self.class_balance == "sampling":
            raise ConfigError(
                "class_balance sampling draws images of one class, and findings have none; use class_balance loss"
            )

    @property
    def chosen_best_by(self) -> str:
        """Metric by which the best epoch is chosen; if none is given, the one that suits the task."""
        return self.best_by or ("accuracy" if self.task == "multiclass" else "auroc")

    @property
    def chosen_label_smoothing(self) -> float:
        """Label smoothing; if none is given, the one that suits the task: smoothed findings would seem less rare than they are."""
        return (0.1 if self.task == "multiclass" else 0.0) if self.label_smoothing is None else self.label_smoothing

    def weights_of_labels(self) -> dict[str, float]:
        """Weight in the loss by finding.

        Raises:
            ConfigError: if a value is not of the form FINDING=NUMBER, is not above 0, or is given twice.
        """
        found: dict[str, float] = {}
        for entry in self.label_weights:
            finding, equals, number = entry.rpartition("=")
            is_number = re.fullmatch(r"\d+(\.\d*)?|\.\d+", number.strip()) is not None
            form = bool(equals and finding.strip()) and is_number and finding.strip() not in found
            require(
                form and float(number) > 0,
                "label_weights",
                entry,
                "FINDING=NUMBER with a number above 0, once for each finding",
            )
            found[finding.strip()] = float(number)
        return found

    @property
    def chosen_schedule(self) -> Literal["cosine", "plateau"]:
        """The learning-rate schedule; if none is given, the one that suits the weights that the training starts from."""
        return self.schedule or ("plateau" if self.pretrained or self.weights_uri else "cosine")
