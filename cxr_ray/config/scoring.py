"""Configs of the jobs that stream an archive through models."""

from dataclasses import dataclass, field, fields
from typing import Any, Literal

from cxr_ray.config.checks import require
from cxr_ray.config.identity import MAY_CHANGE
from cxr_ray.config.segmentation import ONLY_FOR, MaskFiles, SegmenterUris, StudentSettings, TextSettings
from cxr_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveJobConfig:
    """What all jobs that stream an archive through models have in common."""

    input_uri: str
    """Folder or prefix of the archive, or a manifest (any Parquet table with image_id and uri)."""
    output_uri: str = field(metadata=MAY_CHANGE)
    """Folder that receives the rows in Parquet and run.json; the same command resumes what stands there."""
    exclude: tuple[str, ...] = ()
    """Shell patterns of names to leave out, relative to the input prefix, such as '*/masks/*'."""
    overwrite: bool = field(default=False, metadata=MAY_CHANGE)
    """Start over: delete what an earlier run left in the output."""
    retry_errors: bool = field(default=False, metadata=MAY_CHANGE)
    """Try again the images whose row says `error`, beside those that have no row yet."""
    max_error_rate: float = field(default=0.05, metadata=MAY_CHANGE)
    """Fail (exit code 1, all rows kept) if more than this share of the images are errors."""
    rows_per_block: int | None = field(default=None, metadata=MAY_CHANGE)
    """Images that are committed together; a fiftieth of the job, between 64 and 8,192, if not given."""
    batch_size: int | None = field(default=None, metadata=MAY_CHANGE)
    """Images a forward pass; what suits the device if not given."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Of the arithmetic; auto takes bf16 where the device has instructions for it, else fp32."""
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=MAY_CHANGE)
    """auto takes the cluster's GPUs, or its CPUs where there are none."""
    num_actors: int | None = field(default=None, metadata=MAY_CHANGE)
    """Model replicas; as many as the cluster has GPUs (or groups of 8 CPUs) if not given."""
    max_megapixels: float = field(default=100.0, metadata=MAY_CHANGE)
    """Larger images become `too_large` rows, never decoded; a later run with a higher limit and --retry-errors scores them."""
    max_megabytes: int = field(default=512, metadata=MAY_CHANGE)
    """Larger files become `too_large` rows; a later run with a higher limit and --retry-errors scores them."""
    progress_seconds: float = field(default=30.0, metadata=MAY_CHANGE)
    """Seconds between progress lines where standard error is no terminal."""
    debug: bool = field(default=False, metadata=MAY_CHANGE)
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

    model_uri: tuple[str, ...] = field(metadata=MAY_CHANGE)  # the ids of the models count
    """One or more model bundles; several share download and decoding, and are averaged."""

    def __post_init__(self) -> None:
        """Check ranges."""
        ArchiveJobConfig.__post_init__(self)  # super() has no class to go by in a class with slots
        is_tuple = not isinstance(self.model_uri, str)  # whose letters would each be taken for a bundle
        require(is_tuple, "model_uri", self.model_uri, 'a tuple of bundles such as ("models/classifier",)')
        require(bool(self.model_uri), "model_uri", self.model_uri, "at least one model bundle")
        require(len(set(self.model_uri)) == len(self.model_uri), "model_uri", self.model_uri, "bundles that differ")


@dataclass(frozen=True, kw_only=True)
class SegmentConfig(MaskFiles, StudentSettings, TextSettings, SegmenterUris, ArchiveJobConfig):
    """Segment every image of an archive, by text or by a student: one Parquet row each, its mask as COCO RLE at the original size."""

    def __post_init__(self) -> None:
        """Check ranges, and that nothing is asked for in vain."""
        for part in (ArchiveJobConfig, SegmenterUris, TextSettings, StudentSettings):
            part.__post_init__(self)
        fits = bool(self.model_uri) or self.precision != "fp16"
        require(fits, "precision", self.precision, "auto, bf16 or fp32: fp16 loses M2IB's gradients")
        self._check_that_nothing_is_ignored()

    @property
    def idle_options(self) -> frozenset[str]:
        """Options that change nothing for the chosen one of the two ways to segment."""
        chosen, other = (StudentSettings, TextSettings) if self.model_uri else (TextSettings, StudentSettings)
        settings = {option.name for option in fields(other)} - {option.name for option in fields(chosen)}
        files = {option.name for option in fields(MaskFiles) if option.metadata.get(ONLY_FOR) is other}
        return frozenset(settings | files)

    def _check_that_nothing_is_ignored(self) -> None:
        idle = self.idle_options
        for option in fields(self):
            default = option.default_factory() if callable(option.default_factory) else option.default
            if option.name in idle and getattr(self, option.name) != default:
                way = "a student (--model-uri)" if self.model_uri else "segmentation by text (--clip-uri, --sam-uri)"
                raise ConfigError(f"{option.name} changes nothing for {way}; drop it")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(StudentSettings, ArchiveJobConfig):
    """Classify every image of an archive and, in the same pass, segment those that a rule on the class asks for."""

    classifier_uri: tuple[str, ...] = field(metadata=MAY_CHANGE)  # the ids of the models count
    """One or more classifier bundles, as in classify_archive.py."""
    segmenter_uri: str = field(metadata=MAY_CHANGE)  # its model's id counts
    """A student's bundle, as in segment_archive.py."""
    segment_labels: tuple[str, ...] = ()
    """Classes whose images are segmented; all if none is named."""
    segment_min_confidence: float = 0.0
    """Least confidence of the class at which an image is segmented."""

    def __post_init__(self) -> None:
        """Check ranges; those of both jobs are theirs to check."""
        ArchiveJobConfig.__post_init__(self)
        StudentSettings.__post_init__(self)
        confidence = self.segment_min_confidence
        require(0 <= confidence <= 1, "segment_min_confidence", confidence, "between 0 and 1")
        self.classifying()
        self.segmenting()

    def classifying(self) -> ClassifyConfig:
        """What classify_archive.py would be told."""
        return ClassifyConfig(**self._shared(), model_uri=self.classifier_uri)

    def segmenting(self) -> SegmentConfig:
        """What segment_archive.py would be told."""
        chosen = {option.name: getattr(self, option.name) for option in fields(StudentSettings)}
        return SegmentConfig(**self._shared(), model_uri=self.segmenter_uri, **chosen)

    def _shared(self) -> dict[str, Any]:
        return {option.name: getattr(self, option.name) for option in fields(ArchiveJobConfig)}
