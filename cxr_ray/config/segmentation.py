"""Settings of the two ways to segment, by text and with a trained segmenter; models take them in every job."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from cxr_ray.config.checks import require, require_default
from cxr_ray.config.identity import MAY_CHANGE
from cxr_ray.errors import ConfigError

LUNG_PROMPTS = (
    "a chest x-ray of the left and right lung fields",
    "the lungs in a frontal chest radiograph",
    "the right lung field from apex to costophrenic angle",
    "the left lung field from apex to costophrenic angle",
    "air-filled lungs on both sides of the mediastinum",
    "lung parenchyma within the rib cage",
)

Part = TypeVar("Part")


def part_of(config: Any, kind: type[Part]) -> Part:
    """Copy the options of `kind`, one of the base classes of a job's config, into an instance of `kind`."""
    return kind(**{option.name: getattr(config, option.name) for option in fields(kind)})  # type: ignore[arg-type]


# The classes below are bases of job configs, and their fields become flags. They have no slots, because only one base
# of a class may have slots.


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """Settings that say which pieces of the foreground a mask keeps, for both ways to segment."""

    components: int = 2
    """Maximum number of connected pieces of a mask that are kept, the largest first (1 to 255); lungs need 2."""
    min_area: float = 0.005
    """Minimum area of a piece that is kept, as a fraction of the image (0 to below 1)."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.components >= 1, "components", self.components, ">= 1")
        require(self.components <= 255, "components", self.components, "<= 255")
        require(0 <= self.min_area < 1, "min_area", self.min_area, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class TextSettings(MaskSettings):
    """Settings of segmentation by text, with BiomedCLIP, M2IB and SAM."""

    prompts: tuple[str, ...] = LUNG_PROMPTS
    """Sentences that say what to segment by text; the mean of their text features is searched for in the image."""
    class_prompts: dict[str, list[str]] = field(default_factory=dict)
    """Sentences that replace --prompts for images of a class, which the manifest's column `label` gives; in a recipe, a
    table [class_prompts] with an array of sentences for each label."""
    layer: int = 7
    """Number of the transformer block of BiomedCLIP's vision encoder, from 0, after which the M2IB bottleneck is
    inserted."""
    beta: float = 0.1
    """Weight of the compression term of M2IB; a larger weight gives sparser saliency maps."""
    steps: int = 10
    """Optimisation steps of the M2IB bottleneck for each image."""
    draws: int = 10
    """Noise samples in each optimisation step of the M2IB bottleneck."""
    threshold: Literal["otsu", "kmeans", "fixed"] = "otsu"
    """How a saliency map is split into foreground and background: otsu and kmeans find a threshold for each map, fixed
    uses --fixed-threshold."""
    fixed_threshold: float = 0.3
    """Saliency (above 0, at most 1) from which a pixel is foreground; only for --threshold fixed."""
    prompt_kind: Literal["boxes", "points", "both"] = "boxes"
    """What SAM receives for each piece of the coarse mask: its bounding box, points inside it, or both."""
    one_box: bool = False
    """Give SAM one bounding box around all pieces, instead of one box for each piece."""
    points: int = 10
    """Number of points inside each piece that SAM receives; only for --prompt-kind points or both."""
    background_points: int = 0
    """Number of points outside all pieces that SAM receives as background; only for --prompt-kind points or both."""
    multimask: bool = False
    """Let SAM propose three masks for each prompt, and keep the one with the highest predicted IoU."""
    seed: int = 0
    """Seed of the noise in the M2IB bottleneck."""

    def __post_init__(self) -> None:
        """Check ranges."""
        MaskSettings.__post_init__(self)
        by_class = [(f"class_prompts of {label}", prompts) for label, prompts in self.class_prompts.items()]
        for name, prompts in [("prompts", self.prompts), *by_class]:
            is_filled = bool(prompts) and all(map(str.strip, prompts))
            require(is_filled, name, prompts, "one or more sentences, none of them empty")
        for name in ("steps", "draws", "points"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        for name in ("layer", "background_points", "beta"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        require(0 < self.fixed_threshold <= 1, "fixed_threshold", self.fixed_threshold, "above 0 and at most 1")
        if self.threshold != "fixed":
            require_default(self, "fixed_threshold", needs="threshold fixed")
        if self.prompt_kind == "boxes":
            require_default(self, "points", "background_points", needs="prompt_kind points or both")


@dataclass(frozen=True, kw_only=True)
class SegmenterSettings(MaskSettings):
    """Settings that turn the probabilities of a trained segmenter into a mask."""

    foreground: float = 0.5
    """Probability (above 0, below 1) above which a pixel belongs to the mask; only for a trained segmenter."""

    def __post_init__(self) -> None:
        """Check ranges."""
        MaskSettings.__post_init__(self)
        require(0 < self.foreground < 1, "foreground", self.foreground, "above 0 and below 1")


ONLY_FOR = "only_for"
"""Key in the metadata of an option that only one way to segment uses; the value is the settings class of that way."""


@dataclass(frozen=True, kw_only=True)
class MaskFiles:
    """Options for files that a segmentation writes in addition to its rows."""

    save_overlays: bool = field(default=False, metadata=MAY_CHANGE)
    """Also write OUTPUT/overlays/IMAGE_ID.png: the radiograph with the outline of its mask."""
    save_saliency: bool = field(default=False, metadata={**MAY_CHANGE, ONLY_FOR: TextSettings})
    """Also write OUTPUT/saliency/IMAGE_ID.png: the saliency map, 224 x 224 pixels of 16 bits; only for segmentation by
    text."""
    save_uncertainty: bool = field(default=False, metadata={**MAY_CHANGE, ONLY_FOR: SegmenterSettings})
    """Also write OUTPUT/uncertainty/IMAGE_ID.png: the entropy of each pixel in 16 bits, where white is log 2; only for
    a trained segmenter."""
    save_dicom_seg: bool = field(default=False, metadata=MAY_CHANGE)
    """Also write OUTPUT/dicom_seg/IMAGE_ID.seg.dcm, a DICOM Segmentation object, for each DICOM image with a mask."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextModels:
    """URIs of the two models of segmentation by text."""

    clip_uri: str
    sam_uri: str


@dataclass(frozen=True, kw_only=True)
class SegmenterUris:
    """URIs of the models of one way to segment; the identity of the work depends on their content, and not on the URIs."""

    model_uri: str | None = field(default=None, metadata=MAY_CHANGE)
    """Segmenter bundle of train_segmenter.py; give either this, or --clip-uri and --sam-uri to segment by text."""
    clip_uri: str | None = field(default=None, metadata=MAY_CHANGE)
    """BiomedCLIP: a folder or file of weights in the layout of this project, open_clip or Hugging Face, with vocab.txt
    beside it."""
    sam_uri: str | None = field(default=None, metadata=MAY_CHANGE)
    """SAM: a file of weights of segment_anything; its size (vit_b, vit_l or vit_h) is recognised."""

    def __post_init__(self) -> None:
        """Check that the models of exactly one way to segment are named."""
        if not self.model_uri or self.clip_uri or self.sam_uri:
            self.text_models()

    def text_models(self) -> TextModels:
        """URIs of the models of segmentation by text.

        Raises:
            ConfigError: if `model_uri` is given, or `clip_uri` or `sam_uri` is missing.
        """
        if self.model_uri or not (self.clip_uri and self.sam_uri):
            raise ConfigError(
                "give either --model-uri (a segmenter), or both --clip-uri and --sam-uri (segmentation by text); got "
                f"model_uri {self.model_uri}, clip_uri {self.clip_uri} and sam_uri {self.sam_uri}"
            )
        return TextModels(clip_uri=self.clip_uri, sam_uri=self.sam_uri)
