"""Configs of the jobs that train."""

from dataclasses import dataclass
from typing import Literal

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainClassifierConfig:
    """Train a classifier with Ray Train; the bundle of the best epoch is what comes out."""

    dataset_uri: str
    """Dataset table of prepare_dataset.py."""
    output_uri: str
    """Folder that becomes the model bundle; TensorBoard files and history.parquet go there as well."""
    backbone: Literal["vit_b16", "resnet50", "efficientnet_b0", "densenet121"] = "efficientnet_b0"
    """Architecture."""
    image_size: int = 224
    """Pixels a side; images are squashed to a square."""
    epochs: int = 50
    """Passes over the training images."""
    batch_size: int = 32
    """Images a step on each worker."""
    num_workers: int = 1
    """Workers, data parallel."""
    use_gpu: bool = False
    """Give each worker a GPU."""
    pretrained: bool = False
    """Start from timm's ImageNet weights; needs a machine that reaches its hub."""
    schedule: Literal["onecycle", "plateau"] | None = None
    """Learning rate: one cycle, or halved after 7 epochs without progress; onecycle for random weights if not given."""
    learning_rate: float | None = None
    """Peak rate; if not given, 1e-4 for plateau, and for one cycle what suits the backbone."""
    weight_decay: float = 0.01
    """Of AdamW."""
    label_smoothing: float = 0.1
    """Share of the target that is spread over all classes; 0 for plain cross-entropy."""
    gradient_clip: float = 1.0
    """Gradients of a larger norm are scaled down to it; 0 leaves them as they are."""
    early_stopping_patience: int = 10
    """Epochs without a better validation loss after which training ends."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the arithmetic; auto takes bf16 where the device has instructions for it, else fp32."""
    seed: int = 0
    """Of initial weights, order and augmentation."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("epochs", "batch_size", "num_workers", "early_stopping_patience"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        require(self.image_size >= 32, "image_size", self.image_size, ">= 32")
        require(self.learning_rate is None or self.learning_rate > 0, "learning_rate", self.learning_rate, "> 0")
        require(0 <= self.label_smoothing < 1, "label_smoothing", self.label_smoothing, "in [0, 1)")
        require(self.gradient_clip >= 0, "gradient_clip", self.gradient_clip, ">= 0")
        require(self.weight_decay >= 0, "weight_decay", self.weight_decay, ">= 0")

    @property
    def chosen_schedule(self) -> Literal["onecycle", "plateau"]:
        """The schedule, with the default that suits the weights training starts from."""
        return self.schedule or ("plateau" if self.pretrained else "onecycle")
