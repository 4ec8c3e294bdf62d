"""Configs of the jobs that stream an archive through models."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from cxr_ray.config.checks import require
from cxr_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveJobConfig:
    """What all jobs that stream an archive through models have in common."""

    input_uri: str
    """Folder or prefix of the archive, or a manifest (any Parquet table with image_id and uri)."""
    output_uri: str
    """Folder that receives the rows in Parquet and run.json; the same command resumes what stands there."""
    exclude: tuple[str, ...] = ()
    """Shell patterns of names to leave out, relative to the input prefix, such as '*/masks/*'."""
    overwrite: bool = False
    """Start over: delete what an earlier run left in the output."""
    retry_errors: bool = False
    """Try again the images whose row says `error`, beside those that have no row yet."""
    max_error_rate: float = 0.05
    """Fail (exit code 1, all rows kept) if more than this share of the images are errors."""
    rows_per_block: int | None = None
    """Images that are committed together; a fiftieth of the job, between 64 and 8,192, if not given."""
    batch_size: int | None = None
    """Images a forward pass; what suits the device if not given."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Of the arithmetic; auto takes bf16 where the device has instructions for it, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """auto takes the cluster's GPUs, or its CPUs where there are none."""
    num_actors: int | None = None
    """Model replicas; as many as the cluster has GPUs (or groups of 8 CPUs) if not given."""
    max_megapixels: float = 100.0
    """Larger images become `too_large` rows; their pixels are never allocated."""
    max_megabytes: int = 512
    """Larger files become `too_large` rows."""
    progress_seconds: float = 30.0
    """Seconds between progress lines where standard error is no terminal."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(0 <= self.max_error_rate <= 1, "max_error_rate", self.max_error_rate, "between 0 and 1")
        for name in ("rows_per_block", "batch_size", "num_actors"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, ">= 1")
        require(self.max_megapixels > 0, "max_megapixels", self.max_megapixels, "> 0")
        require(self.max_megabytes > 0, "max_megabytes", self.max_megabytes, "> 0")
        require(self.progress_seconds > 0, "progress_seconds", self.progress_seconds, "> 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyConfig(ArchiveJobConfig):
    """Score every image of an archive: one Parquet row each, broken files included."""

    model_uri: tuple[str, ...]
    """One or more model bundles; several share download and decoding, and are averaged."""

    def __post_init__(self) -> None:
        """Check ranges."""
        ArchiveJobConfig.__post_init__(self)  # super() has no class to go by in a class with slots
        is_tuple = not isinstance(self.model_uri, str)  # whose letters would each be taken for a bundle
        require(is_tuple, "model_uri", self.model_uri, 'a tuple of bundles such as ("models/classifier",)')
        require(bool(self.model_uri), "model_uri", self.model_uri, "at least one model bundle")
        require(len(set(self.model_uri)) == len(self.model_uri), "model_uri", self.model_uri, "bundles that differ")


LUNG_PROMPTS = (
    "a chest x-ray of the left and right lung fields",
    "the lungs in a frontal chest radiograph",
    "the right lung field from apex to costophrenic angle",
    "the left lung field from apex to costophrenic angle",
    "air-filled lungs on both sides of the mediastinum",
    "lung parenchyma within the rib cage",
)


OF_STUDENTS_ALONE = ("foreground", "save_uncertainty")
OF_TEXT_ALONE = (
    "prompts", "class_prompts", "layer", "beta", "steps", "draws", "threshold", "fixed_threshold", "prompt_kind",
    "one_box", "points", "background_points", "multimask", "seed", "save_saliency",
)  # fmt: skip
"""Options of `SegmentConfig` that change nothing for the other of the two ways to segment."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentConfig(ArchiveJobConfig):
    """Segment every image of an archive, by text or by a student: one Parquet row each, its mask as COCO RLE at the original size."""

    model_uri: str | None = None
    """Student: a bundle of train_segmenter.py; or, to segment by text, both of the next."""
    clip_uri: str | None = None
    """BiomedCLIP: a folder or file of weights, in our layout, open_clip's or Hugging Face's, with vocab.txt beside it."""
    sam_uri: str | None = None
    """SAM: weights of segment_anything (vit_b, vit_l or vit_h, told by their shapes)."""

    components: int = 2
    """Largest connected pieces that are kept, of the saliency's foreground or of a student's mask; lungs want two."""
    min_area: float = 0.005
    """Share of the image that a piece must cover."""
    foreground: float = 0.5
    """Probability from which on a student's pixel belongs to the mask."""

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

    save_overlays: bool = False
    """Write OUTPUT/overlays/IMAGE_ID.png, the radiograph with the mask's outline."""
    save_saliency: bool = False
    """Write OUTPUT/saliency/IMAGE_ID.png, the map of segmentation by text at 224 x 224 in 16 bits."""
    save_uncertainty: bool = False
    """Write OUTPUT/uncertainty/IMAGE_ID.png, the entropy of a student's pixels in 16 bits, log 2 as white."""
    save_dicom_seg: bool = False
    """Write OUTPUT/dicom_seg/IMAGE_ID for DICOM images: a DICOM Segmentation object."""

    def __post_init__(self) -> None:
        """Check ranges."""
        ArchiveJobConfig.__post_init__(self)
        for name, prompts in {"prompts": self.prompts, **self.class_prompts}.items():
            require(bool(prompts) and all(map(str.strip, prompts)), name, prompts, "sentences, and at least one")
        for name in ("steps", "draws", "components", "points"):
            require(getattr(self, name) >= 1, name, getattr(self, name), ">= 1")
        for name in ("layer", "background_points", "beta"):
            require(getattr(self, name) >= 0, name, getattr(self, name), ">= 0")
        require(self.components <= 255, "components", self.components, "<= 255")
        require(0 < self.foreground < 1, "foreground", self.foreground, "above 0 and below 1")
        require(0 < self.fixed_threshold <= 1, "fixed_threshold", self.fixed_threshold, "above 0 and at most 1")
        require(0 <= self.min_area < 1, "min_area", self.min_area, "in [0, 1)")
        self._check_models()
        self._check_that_nothing_is_ignored()

    def _check_models(self) -> None:
        by_text = [uri for uri in (self.clip_uri, self.sam_uri) if uri]
        if bool(self.model_uri) == bool(by_text) or len(by_text) == 1:
            raise ConfigError(
                f"name a student by --model-uri, or both --clip-uri and --sam-uri; got {self.model_uri}, "
                f"{self.clip_uri} and {self.sam_uri}"
            )
        fits = bool(self.model_uri) or self.precision != "fp16"
        require(fits, "precision", self.precision, "auto, bf16 or fp32: fp16 loses M2IB's gradients")

    def _check_that_nothing_is_ignored(self) -> None:
        idle = OF_TEXT_ALONE if self.model_uri else OF_STUDENTS_ALONE
        for option in fields(self):
            default = option.default_factory() if callable(option.default_factory) else option.default
            if option.name in idle and getattr(self, option.name) != default:
                way = "a student (--model-uri)" if self.model_uri else "segmentation by text (--clip-uri, --sam-uri)"
                raise ConfigError(f"{option.name} changes nothing for {way}; drop it")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoreConfig(ArchiveJobConfig):
    """Classify every image of an archive and, in the same pass, segment those that a rule on the class asks for."""

    classifier_uri: tuple[str, ...]
    """One or more classifier bundles, as in classify_archive.py."""
    segmenter_uri: str
    """A student's bundle, as in segment_archive.py."""
    segment_labels: tuple[str, ...] = ()
    """Classes whose images are segmented; all if none is named."""
    segment_min_confidence: float = 0.0
    """Least confidence of the class at which an image is segmented."""

    components: int = 2
    """As in segment_archive.py."""
    min_area: float = 0.005
    """As in segment_archive.py."""
    foreground: float = 0.5
    """As in segment_archive.py."""

    def __post_init__(self) -> None:
        """Check ranges; those of both jobs are theirs to check."""
        ArchiveJobConfig.__post_init__(self)
        confidence = self.segment_min_confidence
        require(0 <= confidence <= 1, "segment_min_confidence", confidence, "between 0 and 1")
        self.classifying()
        self.segmenting()

    def classifying(self) -> ClassifyConfig:
        """What classify_archive.py would be told."""
        return ClassifyConfig(**self._shared(), model_uri=self.classifier_uri)

    def segmenting(self) -> SegmentConfig:
        """What segment_archive.py would be told."""
        chosen = {name: getattr(self, name) for name in ("components", "min_area", "foreground")}
        return SegmentConfig(**self._shared(), model_uri=self.segmenter_uri, **chosen)

    def _shared(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(ArchiveJobConfig)}
