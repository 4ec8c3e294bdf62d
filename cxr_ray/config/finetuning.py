"""Config of the job that fine-tunes BiomedCLIP on images and their captions."""

from dataclasses import dataclass, field
from typing import Literal

from cxr_ray.config.checks import require
from cxr_ray.config.identity import MAY_CHANGE
from cxr_ray.config.training import TrainingJobConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class FinetuneClipConfig(TrainingJobConfig):
    """Fine-tune BiomedCLIP on images and captions with the DHN-NCE loss and Ray Train; the weights of the best epoch are saved."""

    dataset_uri: str = field(metadata=MAY_CHANGE)  # the fingerprint of its content is part of the identity
    """Table of pairs, Parquet or CSV, with the columns `image` (a URI, or a path relative to the table) and `caption`;
    the column names `filename` and `Caption` are accepted too."""
    output_uri: str = field(metadata=MAY_CHANGE)
    """Folder that becomes the CLIP bundle; it also receives TensorBoard files and history.parquet."""
    weights_uri: str
    """BiomedCLIP to start from: a folder or file of weights in the layout of this project, open_clip or Hugging Face,
    with vocab.txt beside it."""
    val_fraction: float = 0.1
    """Fraction of the images (above 0, below 1) to validate on, chosen by content; ignored if the table has a `split`
    column (train, val, test)."""
    class_prompts: dict[str, list[str]] = field(default_factory=dict)
    """Sentences for each value of the table's `label` column, to report a zero-shot accuracy; in a recipe, a table
    [class_prompts] with an array of sentences for each label."""

    epochs: int = 20
    """Passes over the training pairs."""
    batch_size: int = 16
    """Pairs per worker and step, at least 2. The pairs of all workers serve as negatives of each other unless they
    share image or caption; the paper uses 64."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Floating-point precision; auto uses bf16 where the device supports it natively, and fp32 elsewhere."""

    # This is the rate of the paper. The rate of its script, 1e-3, makes AdamW overwrite the pretrained weights.
    learning_rate: float = 1e-6
    """Peak learning rate of AdamW; it is not scaled by the batch size."""
    warmup: float = 0.1
    """Fraction of the training (0 to below 1) in which the learning rate rises; after that it falls to 0 along a
    cosine."""
    weight_decay: float = 0.1
    """Weight decay of AdamW; norms, biases and the logit scale are not decayed."""
    adam_betas: tuple[float, float] = (0.9, 0.98)
    """Decay rates of AdamW's two moment estimates, each in 0 to below 1."""
    gradient_clip: float = 1.0
    """Maximum norm of the gradient; a larger gradient is scaled down to it, and 0 turns clipping off."""

    tau: float = 0.6
    """Temperature of the DHN-NCE loss, above 0."""
    beta1: float = 0.15
    """Weight of hard negatives among the texts that an image is compared with; 0 weighs all texts equally."""
    beta2: float = 0.15
    """Weight of hard negatives among the images that a text is compared with; 0 weighs all images equally."""
    crop_scale: tuple[float, float] = (0.9, 1.0)
    """Minimum and maximum fraction of an image's area that a random crop keeps."""

    def __post_init__(self) -> None:
        """Check ranges."""
        TrainingJobConfig.__post_init__(self)  # super() without arguments fails in a dataclass with slots
        require(self.epochs >= 1, "epochs", self.epochs, ">= 1")
        require(
            self.batch_size >= 2,
            "batch_size",
            self.batch_size,
            ">= 2, because the negatives of a pair are the other pairs",
        )
        for name in ("learning_rate", "tau"):
            require(getattr(self, name) > 0, name, getattr(self, name), "> 0")
        for name in ("weight_decay", "gradient_clip", "beta1", "beta2"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        require(0 < self.val_fraction < 1, "val_fraction", self.val_fraction, "above 0 and below 1")
        require(0 <= self.warmup < 1, "warmup", self.warmup, "in [0, 1)")
        require(all(0 <= beta < 1 for beta in self.adam_betas), "adam_betas", self.adam_betas, "two numbers in [0, 1)")
        minimum, maximum = self.crop_scale
        require(0 < minimum <= maximum <= 1, "crop_scale", self.crop_scale, "MIN MAX with 0 < MIN <= MAX <= 1")
        self._check_prompts()

    def _check_prompts(self) -> None:
        if self.class_prompts:
            labels = list(self.class_prompts)
            require(len(labels) >= 2, "class_prompts", labels, "given for two labels or more, or for none")
        for label, prompts in self.class_prompts.items():
            is_filled = bool(prompts) and all(prompt.strip() for prompt in prompts)
            require(is_filled, f"class_prompts of {label}", prompts, "one or more sentences, none of them empty")
