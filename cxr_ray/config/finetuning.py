"""Config of the job that fine-tunes BiomedCLIP on images and their captions."""

from dataclasses import dataclass, field
from typing import Literal

from cxr_ray.config.checks import require
from cxr_ray.config.identity import MAY_CHANGE
from cxr_ray.config.training import TrainingJobConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneClipConfig(TrainingJobConfig):
    """Fine-tune BiomedCLIP on images and captions (DHN-NCE) with Ray Train; the best epoch's bundle comes out."""

    dataset_uri: str = field(metadata=MAY_CHANGE)  # the fingerprint of its content counts
    """Table of pairs, Parquet or CSV: `image` (a URI, or a path from the table's folder) and `caption`; `filename,Caption` is read too."""
    output_uri: str = field(metadata=MAY_CHANGE)
    """Folder that becomes the CLIP bundle; TensorBoard files and history.parquet go there as well."""
    weights_uri: str
    """BiomedCLIP to start from: a folder or file of weights, in our layout, open_clip's or Hugging Face's, with vocab.txt beside it."""
    val_share: float = 0.1
    """Share of the images to validate by, chosen by content; a `split` column (train, val, test) in the table comes before it."""
    class_prompts: dict[str, list[str]] = field(default_factory=dict)
    """Sentences for each value of the table's `label` column, for a zero-shot accuracy; in a recipe a table of arrays."""

    epochs: int = 20
    """Passes over the training pairs."""
    batch_size: int = 16
    """Pairs on each worker at once; those of all workers are each other's negatives unless they share image or caption; 64 in the paper."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Of the arithmetic; auto takes bf16 where the device has instructions for it, else fp32."""

    # The paper's. Its script says 1e-3, by which AdamW would move every weight in every step: pretrained ones are lost.
    learning_rate: float = 1e-6
    """Peak rate, whatever the batch."""
    warmup: float = 0.1
    """Share of the training in which the rate rises; half a cosine to zero follows."""
    weight_decay: float = 0.1
    """Of AdamW; norms, biases and the logit scale are spared."""
    adam_betas: tuple[float, float] = (0.9, 0.98)
    """Of AdamW."""
    gradient_clip: float = 1.0
    """Gradients of a larger norm are scaled down to it; 0 leaves them as they are."""

    tau: float = 0.6
    """Temperature of the loss."""
    beta1: float = 0.15
    """How much harder texts weigh among the negatives of an image."""
    beta2: float = 0.15
    """How much harder images weigh among the negatives of a text."""
    crop_scale: tuple[float, float] = (0.9, 1.0)
    """Least and most share of an image's area that a random crop keeps."""

    def __post_init__(self) -> None:
        """Check ranges."""
        TrainingJobConfig.__post_init__(self)  # super() has no class to go by in a class with slots
        require(self.epochs >= 1, "epochs", self.epochs, ">= 1")
        require(self.batch_size >= 2, "batch_size", self.batch_size, ">= 2, for a pair's negatives are the others")
        for name in ("learning_rate", "tau"):
            require(getattr(self, name) > 0, name, getattr(self, name), "> 0")
        for name in ("weight_decay", "gradient_clip", "beta1", "beta2"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        require(0 < self.val_share < 1, "val_share", self.val_share, "above 0 and below 1")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "in [0, 1)")
        require(all(0 <= beta < 1 for beta in self.adam_betas), "adam_betas", self.adam_betas, "two numbers in [0, 1)")
        least, most = self.crop_scale
        require(0 < least <= most <= 1, "crop_scale", self.crop_scale, "MIN MAX with 0 < MIN <= MAX <= 1")
        self._check_prompts()

    def _check_prompts(self) -> None:
        if self.class_prompts:
            labels = list(self.class_prompts)
            require(len(labels) >= 2, "class_prompts", labels, "of two labels or more")
        for label, prompts in self.class_prompts.items():
            told = bool(prompts) and all(prompt.strip() for prompt in prompts)
            require(told, f"class_prompts of {label}", prompts, "one sentence or more, none of them empty")
