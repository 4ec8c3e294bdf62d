"""Configs of the jobs that stream an archive through models."""

import re
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from cxr_ray.config.checks import require
from cxr_ray.config.identity import MAY_CHANGE
from cxr_ray.config.segmentation import ONLY_FOR, MaskFiles, SegmenterSettings, SegmenterUris, TextSettings
from cxr_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchiveJobConfig:
    """Options of every job that streams an archive through models."""

    input_uri: str
    """Folder or prefix of the archive, or a manifest: any Parquet table with the columns image_id and uri."""
    output_uri: str = field(metadata=MAY_CHANGE)
    """Folder that receives the rows in Parquet and run.json; the same command on the same output resumes."""
    exclude: tuple[str, ...] = ()
    """Shell patterns of names to leave out, relative to --input-uri; '*/masks/*' leaves out COVID/masks/1.png
    and masks/1.png. A manifest takes none."""
    shard: str | None = field(default=None, metadata=MAY_CHANGE)  # rows of another number of shards are refused
    """Score one shard of the images alone, such as 3/16 for the third of 16; jobs with all shards of one number and the
    same output score every image once. An image stays in its shard when the archive grows."""
    overwrite: bool = field(default=False, metadata=MAY_CHANGE)
    """Delete what an earlier run left in the output, and start over."""
    retry_errors: bool = field(default=False, metadata=MAY_CHANGE)
    """Also score images again whose row has the status error; without this option only images without a row are scored."""
    max_error_rate: float = field(default=0.05, metadata=MAY_CHANGE)
    """Maximum fraction (0 to 1) of images that may be errors; above it the job ends with exit code 3 and keeps all
    rows."""
    rows_per_block: int | None = field(default=None, metadata=MAY_CHANGE)
    """Number of images that one task loads; if not given, a fiftieth of the job, between 64 and 8,192, or fewer on a
    large cluster. Rows are committed after each such block, or after each minute of a model's work if that is sooner; a
    killed job loses only what is not committed."""
    batch_size: int | None = field(default=None, metadata=MAY_CHANGE)
    """Images per forward pass; if not given, a number that suits the device."""
    orientation_uri: str | None = None
    """Weights of fit_orientation.py by which inverted and rotated images are flagged; None takes those of the package."""
    engine: Literal["auto", "torch", "compile", "openvino"] = "auto"
    """Program that computes the models; auto takes the fastest one on the device that gives the probabilities (or features)
    of torch in fp32 within 0.02: OpenVINO on CPUs, torch's compiler on GPUs, else torch."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Floating-point precision; auto uses bf16 where the engine and the device support it natively, and fp32 elsewhere."""
    device: Literal["auto", "cpu", "cuda"] = field(default="auto", metadata=MAY_CHANGE)
    """Device that runs the models; auto uses the GPUs of the cluster, or its CPUs if it has no GPU."""
    num_actors: int | None = field(default=None, metadata=MAY_CHANGE)
    """Number of model replicas; if not given, one per GPU, or on CPUs one per 8 cores (two for segmenters)."""
    num_gpus_per_actor: float | None = field(default=None, metadata=MAY_CHANGE)
    """GPUs that each model replica reserves: a fraction such as 0.5 lets replicas share a GPU; if not given, 1 with GPUs.
    With --device cpu, replicas reserve GPUs and compute on CPUs, which tries out a cluster's GPU nodes."""
    max_wait_minutes: float = field(default=30.0, metadata=MAY_CHANGE)
    """Minutes that the job waits for a node with room for its first model replica, before it ends."""
    grow_minutes: float = field(default=10.0, metadata=MAY_CHANGE)
    """Where the cluster starts nodes by itself, more of them are asked for while the remaining images would take longer
    than this many minutes; 0 asks at once for all that the job can use."""
    max_megapixels: float = field(default=100.0, metadata=MAY_CHANGE)
    """Images with more megapixels become rows with error_kind too_large, before any pixel is decoded; a larger limit
    with --retry-errors scores them."""
    max_megabytes: int = field(default=512, metadata=MAY_CHANGE)
    """Files of more megabytes, on disk or decoded, become rows with error_kind too_large; a larger limit with
    --retry-errors scores them."""
    max_decode_seconds: float = field(default=4.0, metadata=MAY_CHANGE)
    """CPU seconds that a decoder may take for a file, in addition to one second for each MB of the file; a file that
    takes longer becomes a row with error_kind decoder_timeout."""
    progress_seconds: float = field(default=30.0, metadata=MAY_CHANGE)
    """Seconds between two progress lines where standard error is not a terminal."""
    debug: bool = field(default=False, metadata=MAY_CHANGE)
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(0 <= self.max_error_rate <= 1, "max_error_rate", self.max_error_rate, "between 0 and 1")
        for name in ("rows_per_block", "batch_size", "num_actors"):
            value = getattr(self, name)
            require(value is None or value >= 1, name, value, ">= 1")
        is_shard = self.shard is None or _is_shard(self.shard)
        require(is_shard, "shard", self.shard, "I/N with 1 <= I <= N, such as 3/16")
        require(self.max_megapixels > 0, "max_megapixels", self.max_megapixels, "> 0")
        require(self.max_megabytes > 0, "max_megabytes", self.max_megabytes, "> 0")
        require(self.max_decode_seconds > 0, "max_decode_seconds", self.max_decode_seconds, "> 0")
        require(self.progress_seconds > 0, "progress_seconds", self.progress_seconds, "> 0")
        gpus, wanted = self.num_gpus_per_actor, "a fraction above 0 and below 1, or a whole number"
        is_possible = gpus is None or 0 < gpus < 1 or (gpus >= 1 and gpus == int(gpus))
        require(is_possible, "num_gpus_per_actor", gpus, wanted)
        require(self.max_wait_minutes >= 0, "max_wait_minutes", self.max_wait_minutes, ">= 0")
        require(self.grow_minutes >= 0, "grow_minutes", self.grow_minutes, ">= 0")
        fits = self.engine != "openvino" or self.device != "cuda"
        require(fits, "engine", self.engine, "auto, torch or compile with --device cuda")


def _is_shard(text: str) -> bool:
    parts = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
    return parts is not None and int(parts[1]) <= int(parts[2])


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassifyConfig(ArchiveJobConfig):
    """Classify every image of an archive: one Parquet row per image, and for a broken file a row that says why."""

    model_uri: tuple[str, ...] = field(metadata=MAY_CHANGE)  # the ids of the models are part of the identity
    """One or more classifier bundles; several share download and decoding, and the mean of their probabilities is the
    prediction."""

    def __post_init__(self) -> None:
        """Check ranges."""
        ArchiveJobConfig.__post_init__(self)  # super() without arguments fails in a dataclass with slots
        _require_bundles(self.model_uri)


@dataclass(frozen=True, kw_only=True, slots=True)
class EmbedConfig(ArchiveJobConfig):
    """Compute the embedding of every image of an archive: one Parquet row per image, and for a broken file a row that says why."""

    model_uri: tuple[str, ...] = field(metadata=MAY_CHANGE)  # the ids of the models are part of the identity
    """One or more bundles of encoders or classifiers, which share download and decoding; of a classifier the features
    before its head are the embedding."""
    layer: str = "pooled"
    """Layer that gives the embedding: pooled for what the head of the network reads, cls for the class token of a ViT
    after the last normalisation, or the name of a layer in timm, such as blocks.9 or layer3, averaged over positions."""

    def __post_init__(self) -> None:
        """Check ranges."""
        ArchiveJobConfig.__post_init__(self)
        _require_bundles(self.model_uri)
        require(bool(self.layer), "layer", self.layer, "pooled, cls or the name of a layer")


def _require_bundles(model_uri: tuple[str, ...]) -> None:
    is_tuple = not isinstance(model_uri, str)  # each letter of a string would be taken for a bundle
    require(is_tuple, "model_uri", model_uri, 'a tuple of bundles such as ("models/classifier",)')
    require(bool(model_uri), "model_uri", model_uri, "at least one model bundle")
    is_repeated = len(set(model_uri)) < len(model_uri)
    require(not is_repeated, "model_uri", model_uri, "different bundles; remove the repeated one")


@dataclass(frozen=True, kw_only=True)
class SegmentConfig(MaskFiles, SegmenterSettings, TextSettings, SegmenterUris, ArchiveJobConfig):
    """Segment every image of an archive, by text or with a trained segmenter: one Parquet row per image, its mask as COCO run lengths at the original size."""

    def __post_init__(self) -> None:
        """Check ranges, and that no option is set that the chosen way to segment would ignore."""
        SegmenterUris.__post_init__(self)
        self._check_that_nothing_is_ignored()
        for part in (ArchiveJobConfig, TextSettings, SegmenterSettings):
            part.__post_init__(self)
        fits = bool(self.model_uri) or self.precision != "fp16"
        require(
            fits,
            "precision",
            self.precision,
            "auto, bf16 or fp32 to segment by text, because M2IB loses its gradients in fp16",
        )
        computes = bool(self.model_uri) or self.engine in {"auto", "torch"}
        require(computes, "engine", self.engine, "auto or torch to segment by text, because M2IB needs gradients")

    @property
    def idle_options(self) -> frozenset[str]:
        """Names of the options that change nothing for the chosen way to segment (by text, or with a segmenter)."""
        chosen, other = (SegmenterSettings, TextSettings) if self.model_uri else (TextSettings, SegmenterSettings)
        settings = {option.name for option in fields(other)} - {option.name for option in fields(chosen)}
        files = {option.name for option in fields(MaskFiles) if option.metadata.get(ONLY_FOR) is other}
        return frozenset(settings | files)

    def _check_that_nothing_is_ignored(self) -> None:
        idle = self.idle_options
        for option in fields(self):
            default = option.default_factory() if callable(option.default_factory) else option.default
            if option.name in idle and getattr(self, option.name) != default:
                way = "a segmenter (--model-uri)" if self.model_uri else "segmentation by text (--clip-uri, --sam-uri)"
                raise ConfigError(f"{option.name} changes nothing for {way}; drop it")


@dataclass(frozen=True, kw_only=True)
class ScoreConfig(SegmenterSettings, ArchiveJobConfig):
    """Classify every image of an archive and, in the same pass, segment the images that a rule on the class asks for."""

    classifier_uri: tuple[str, ...] = field(metadata=MAY_CHANGE)  # the ids of the models are part of the identity
    """One or more classifier bundles; the mean of their probabilities is the prediction."""
    segmenter_uri: str = field(metadata=MAY_CHANGE)  # the id of the model is part of the identity
    """Segmenter bundle of train_segmenter.py."""
    segment_labels: tuple[str, ...] = ()
    """Classes whose images are segmented, or findings one of which is called present; if none is given, every image is
    segmented."""
    segment_min_confidence: float = 0.0
    """Minimum probability (0 to 1) of the predicted class, or of such a finding, at which an image is segmented."""

    def __post_init__(self) -> None:
        """Check ranges, and make the configs of both jobs, which check their own ranges."""
        ArchiveJobConfig.__post_init__(self)
        SegmenterSettings.__post_init__(self)
        confidence = self.segment_min_confidence
        require(0 <= confidence <= 1, "segment_min_confidence", confidence, "between 0 and 1")
        self.classifying()
        self.segmenting()

    def classifying(self) -> ClassifyConfig:
        """Config of classify_archive.py for the classifying part of this cascade."""
        return ClassifyConfig(**self._shared(), model_uri=self.classifier_uri)

    def segmenting(self) -> SegmentConfig:
        """Config of segment_archive.py for the segmenting part of this cascade, over all images."""
        chosen = {option.name: getattr(self, option.name) for option in fields(SegmenterSettings)}
        return SegmentConfig(**self._shared(), model_uri=self.segmenter_uri, **chosen)

    def _shared(self) -> dict[str, Any]:
        return {option.name: getattr(self, option.name) for option in fields(ArchiveJobConfig)}
