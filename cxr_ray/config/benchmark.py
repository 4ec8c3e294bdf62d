"""Configs of the jobs that measure speed and memory."""

import math
from dataclasses import dataclass
from typing import Literal

from cxr_ray.config.backbones import BackboneNames, require_backbone
from cxr_ray.config.checks import require

PeerName = Literal[
    "dataloader_fp32", "dataloader_bf16", "pipeline_fp32", "pipeline_bf16",
    "daft_fp32", "daft_bf16", "ray_template_fp32", "ray_template_bf16",
]  # fmt: skip


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkConfig:
    """Measure how fast an archive is scored, compared with the fastest forward pass alone (the limit) and other tools (the peers)."""

    input_uri: str
    """Folder, prefix or manifest; the job scores all of its images in every round."""
    model_uri: str
    """Classifier bundle to score with."""
    output_uri: str | None = None
    """Folder that receives benchmark.json and the rows; if not given, the result is only printed."""
    repeats: int = 3
    """Number of rounds; each round measures everything once, and medians over the rounds are reported."""
    forward_images: int = 320
    """Number of images on which the limit is measured; the job and the peers score all images that the peers can read."""
    peers: tuple[PeerName, ...] = ("dataloader_fp32",)
    """Other tools that score the same PNG and JPEG files with the same model in torch: a DataLoader loop, the pipeline of
    transformers, Daft and Ray's template, each in fp32 or bf16. Daft must be installed beside this project."""
    batch_size: int | None = None
    """Images per forward pass; if not given, a number that suits the device."""
    engine: Literal["auto", "torch", "compile", "openvino"] = "auto"
    """Engine of the job, as in classify_archive.py."""
    engines: tuple[Literal["torch", "compile", "openvino"], ...] = ()
    """Engines whose forward pass alone is measured, the fastest of which is the limit; if not given, those that
    --engine auto chooses from."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """Floating-point precision of the job and of the limit."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that runs the model; auto uses a GPU if there is one, and the CPU otherwise."""
    dollars_per_hour: float | None = None
    """Price of this machine in dollars per hour; if given, the cost of a million images is reported."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.repeats >= 1, "repeats", self.repeats, ">= 1")
        require(self.forward_images >= 1, "forward_images", self.forward_images, ">= 1")
        require(self.batch_size is None or self.batch_size >= 1, "batch_size", self.batch_size, ">= 1")
        price = self.dollars_per_hour
        require(price is None or 0 <= price < math.inf, "dollars_per_hour", price, ">= 0 and finite")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkCascadeConfig:
    """Measure how fast a segmenter runs, compared with its forward pass alone, and the cascade, compared with its two jobs."""

    input_uri: str
    """Folder, prefix or manifest; each of the three jobs scores all of its images in every round."""
    classifier_uri: str
    """Classifier bundle of the cascade."""
    segmenter_uri: str
    """Segmenter bundle of the cascade, made by train_segmenter.py."""
    segment_labels: tuple[str, ...] = ()
    """Classes whose images the cascade segments; if none is given, it segments every image."""
    output_uri: str | None = None
    """Folder that receives benchmark.json and the rows; if not given, the result is only printed."""
    repeats: int = 3
    """Number of rounds; each round measures everything once, and medians over the rounds are reported."""
    forward_images: int = 320
    """Number of images on which the forward pass alone is measured."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that runs the models; auto uses a GPU if there is one, and the CPU otherwise."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.repeats >= 1, "repeats", self.repeats, ">= 1")
        require(self.forward_images >= 1, "forward_images", self.forward_images, ">= 1")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkTrainingConfig:
    """Measure how fast one worker trains through Ray Train, compared with a plain PyTorch loop with the same model and batches."""

    dataset_uri: str
    """Dataset of prepare_dataset.py; its train split is used, and no model is saved."""
    output_uri: str | None = None
    """Folder that receives benchmark.json; if not given, the result is only printed."""
    backbone: BackboneNames = ("efficientnet_b0",)
    """Network architectures to measure, one after the other."""
    image_size: int = 224
    """Pixels per side of the square to which images are resized."""
    batch_size: int = 32
    """Images per step."""
    epochs: int = 3
    """Passes over the images in each round, at least 2; the first is a warm-up and is not counted."""
    repeats: int = 3
    """Number of rounds; each round measures everything once, and medians over the rounds are reported."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Floating-point precision; auto uses bf16 where the device supports it natively, and fp32 elsewhere."""
    compile: bool = False
    """Compile the model with torch.compile; this needs a C++ compiler on the machine."""
    use_gpu: bool = False
    """Train on a GPU; without this option the CPU is used."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in self.backbone:
            require_backbone(name)
        require(bool(self.backbone), "backbone", self.backbone, "at least one name")
        require(self.epochs >= 2, "epochs", self.epochs, ">= 2, because the first epoch is not counted")
        require(self.repeats >= 1, "repeats", self.repeats, ">= 1")
        require(self.batch_size >= 1, "batch_size", self.batch_size, ">= 1")
        require(self.image_size >= 32, "image_size", self.image_size, ">= 32")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchmarkSegmentationConfig:
    """Measure time and memory of each stage of segmentation by text, and compare saliency with the published loop (the baseline)."""

    input_uri: str
    """Folder or prefix of radiographs, or a manifest."""
    output_uri: str | None = None
    """Folder that receives benchmark.json; if not given, the result is only printed."""
    clip_uri: str | None = None
    """BiomedCLIP, as for segment_archive.py; if not given, a model of the published size with random weights runs, which
    takes as long."""
    sam_uri: str | None = None
    """SAM, as for segment_archive.py; if not given, a model of the published size with random weights runs, which takes
    as long."""
    sam_type: Literal["vit_b", "vit_l", "vit_h"] = "vit_b"
    """Size of the SAM with random weights; ignored if --sam-uri is given."""
    images: int = 16
    """Number of images that are segmented, in one batch."""
    baseline_images: int = 2
    """Number of images on which the baseline is run, which takes minutes per image on a CPU; 0 leaves the baseline out."""
    repeats: int = 3
    """Number of rounds; each round measures everything once, and medians over the rounds are reported."""
    layer: int = 7
    """Number of the transformer block of BiomedCLIP's vision encoder, from 0, after which the M2IB bottleneck is
    inserted."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """Floating-point precision of the project's own stages; auto uses bf16 where the device supports it natively. The
    baseline always runs in fp32, as it was published."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device that runs the models; auto uses a GPU if there is one, and the CPU otherwise."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.images >= 1, "images", self.images, ">= 1")
        require(
            0 <= self.baseline_images <= self.images,
            "baseline_images",
            self.baseline_images,
            f"0 to --images {self.images}",
        )
        require(self.repeats >= 1, "repeats", self.repeats, ">= 1")
        require(self.layer >= 0, "layer", self.layer, ">= 0")
