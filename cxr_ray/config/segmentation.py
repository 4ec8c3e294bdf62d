"""Settings of the two ways to segment, by text and by a trained student: what the models take, whatever job runs them."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypeVar

from cxr_ray.config.checks import require
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
    """The part of a job's config that `kind`, one of the bases of its class, describes."""
    return kind(**{option.name: getattr(config, option.name) for option in fields(kind)})  # type: ignore[arg-type]


# The classes below are bases of configs, whose flags their fields become; only one base of a class may have slots.


@dataclass(frozen=True, kw_only=True)
class MaskSettings:
    """Which pieces of the foreground a mask keeps, whichever way found them."""

    components: int = 2
    """Largest connected pieces that are kept, of the saliency's foreground or of a student's mask; lungs want two."""
    min_area: float = 0.005
    """Share of the image that a piece must cover."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.components >= 1, "components", self.components, ">= 1")
        require(self.components <= 255, "components", self.components, "<= 255")
        require(0 <= self.min_area < 1, "min_area", self.min_area, "in [0, 1)")


@dataclass(frozen=True, kw_only=True)
class TextSettings(MaskSettings):
    """How a radiograph is segmented by sentences about it."""

    prompts: tuple[str, ...] = LUNG_PROMPTS
    """Sentences about what to segment; the mean of their features is looked for."""
    class_prompts: dict[str, list[str]] = field(default_factory=dict)
    """Sentences in their stead for images of a class, which the manifest's column `label` names; in a recipe a table of arrays."""
    layer: int = 7
    """Block of the vision encoder behind which the bottleneck stands, from 0."""
    beta: float = 0.1
    """Weight of the compression; larger maps are sparser."""
    steps: int = 10
    """Passes of the bottleneck's optimisation."""
    draws: int = 10
    """Of noise in each of them."""
    threshold: Literal["otsu", "kmeans", "fixed"] = "otsu"
    """What splits a saliency map into foreground and background."""
    fixed_threshold: float = 0.3
    """Of `--threshold fixed`."""
    prompt_kind: Literal["boxes", "points", "both"] = "boxes"
    """What SAM is shown of each piece."""
    one_box: bool = False
    """Show SAM one box around all pieces instead of one each."""
    points: int = 10
    """Points drawn from each piece."""
    background_points: int = 0
    """Points drawn outside all pieces."""
    multimask: bool = False
    """Let SAM propose three masks for each prompt and take the one it thinks best of."""
    seed: int = 0
    """Of the bottleneck's noise."""

    def __post_init__(self) -> None:
        """Check ranges."""
        MaskSettings.__post_init__(self)
        for name, prompts in {"prompts": self.prompts, **self.class_prompts}.items():
            require(bool(prompts) and all(map(str.strip, prompts)), name, prompts, "sentences, and at least one")
        for name in ("steps", "draws", "points"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        for name in ("layer", "background_points", "beta"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        require(0 < self.fixed_threshold <= 1, "fixed_threshold", self.fixed_threshold, "above 0 and at most 1")


@dataclass(frozen=True, kw_only=True)
class StudentSettings(MaskSettings):
    """How a mask is made of a trained student's probabilities."""

    foreground: float = 0.5
    """Probability from which on a student's pixel belongs to the mask."""

    def __post_init__(self) -> None:
        """Check ranges."""
        MaskSettings.__post_init__(self)
        require(0 < self.foreground < 1, "foreground", self.foreground, "above 0 and below 1")


ONLY_FOR = "only_for"
"""Key in the metadata of an option that changes nothing but for the way whose settings are the value."""


@dataclass(frozen=True, kw_only=True)
class MaskFiles:
    """Files that a segmentation writes beside its rows."""

    save_overlays: bool = field(default=False, metadata=MAY_CHANGE)
    """Write OUTPUT/overlays/IMAGE_ID.png, the radiograph with the mask's outline."""
    save_saliency: bool = field(default=False, metadata={**MAY_CHANGE, ONLY_FOR: TextSettings})
    """Write OUTPUT/saliency/IMAGE_ID.png, the map of segmentation by text at 224 x 224 in 16 bits."""
    save_uncertainty: bool = field(default=False, metadata={**MAY_CHANGE, ONLY_FOR: StudentSettings})
    """Write OUTPUT/uncertainty/IMAGE_ID.png, the entropy of a student's pixels in 16 bits, log 2 as white."""
    save_dicom_seg: bool = field(default=False, metadata=MAY_CHANGE)
    """Write OUTPUT/dicom_seg/IMAGE_ID for DICOM images: a DICOM Segmentation object."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TextModels:
    """Where the two models of segmentation by text lie."""

    clip_uri: str
    sam_uri: str


@dataclass(frozen=True, kw_only=True)
class SegmenterUris:
    """Where the models of one of the two ways lie; their content counts, and not their place."""

    model_uri: str | None = field(default=None, metadata=MAY_CHANGE)
    """Student: a bundle of train_segmenter.py; or, to segment by text, both of the next."""
    clip_uri: str | None = field(default=None, metadata=MAY_CHANGE)
    """BiomedCLIP: a folder or file of weights, in our layout, open_clip's or Hugging Face's, with vocab.txt beside it."""
    sam_uri: str | None = field(default=None, metadata=MAY_CHANGE)
    """SAM: weights of segment_anything (vit_b, vit_l or vit_h, told by their shapes)."""

    def __post_init__(self) -> None:
        """Check that the models of one way are named."""
        if not self.model_uri or self.clip_uri or self.sam_uri:
            self.text_models()

    def text_models(self) -> TextModels:
        """The models of segmentation by text.

        Raises:
            ConfigError: if a student is named, or not both of them.
        """
        if self.model_uri or not (self.clip_uri and self.sam_uri):
            raise ConfigError(
                f"name a student by --model-uri, or both --clip-uri and --sam-uri; got {self.model_uri}, "
                f"{self.clip_uri} and {self.sam_uri}"
            )
        return TextModels(clip_uri=self.clip_uri, sam_uri=self.sam_uri)
