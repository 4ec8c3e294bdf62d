"""Benchmark of each stage of segmentation by text; it compares saliency with the published loop (the baseline), in one run."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import iter_batches
from cxr_ray.archive.uris import absolute_uri, join_uri, write_bytes
from cxr_ray.benchmarks.peak_memory import peak_memory
from cxr_ray.benchmarks.plain_saliency import plain_saliency
from cxr_ray.config import BenchmarkSegmentationConfig
from cxr_ray.config.segmentation import LUNG_PROMPTS, TextSettings
from cxr_ray.errors import DatasetError
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.imaging.mask_rle import encode_mask
from cxr_ray.imaging.resize import resize_image
from cxr_ray.models.allocator import keep_freed_memory
from cxr_ray.models.biomedclip import SPECIAL_TOKENS, BiomedClip, PromptTokenizer, clip_input
from cxr_ray.models.biomedclip_checkpoint import load_biomedclip, load_tokenizer
from cxr_ray.models.coarse_mask import coarse_masks, to_image_scale
from cxr_ray.models.sam import SAM_CONFIGS, Sam, build_sam
from cxr_ray.models.sam_weights import load_sam
from cxr_ray.models.zero_shot_segmenter import ZeroShotSegmenter
from cxr_ray.scoring.input_manifest import manifest_of
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.load import LoadStage, images_of, pixels_of
from cxr_ray.scoring.stages.segment_by_text import CLIP_FRAME, SAM_IMAGE

SAM_BATCH = {"cpu": 2, "cuda": 16}
"""Number of images that SAM encodes at once on each kind of device, as in `segment_archive.py`."""


def benchmark_segmentation(config: BenchmarkSegmentationConfig) -> dict[str, Any]:
    """Measure all stages and the baseline in turn, `config.repeats` times; print the medians and the spread.

    The result is also written to `benchmark.json`, if `config.output_uri` is given.

    Returns:
        The figures of `summary`, and the device, the number of images, the block and the SAM that were measured.

    Raises:
        BundleError: if weights are named and cannot be read.
        DatasetError: if the input has fewer images than `config.images`, or one of them cannot be read.
    """
    device = torch.device(_device_name(config))
    if device.type == "cpu":
        torch.set_num_threads(os.cpu_count() or 1)
        keep_freed_memory()
    bench = _Bench(config, device)
    rounds = [bench.round() for _ in range(config.repeats)]
    result = summary(rounds)
    result |= {"device": device_name(device), "images": config.images, "layer": config.layer, "sam": bench.sam.model_id}
    if config.output_uri:
        write_bytes(join_uri(absolute_uri(config.output_uri), "benchmark.json"), json.dumps(result, indent=2).encode())
        write_run_record(absolute_uri(config.output_uri), config)
    print(report(result))
    return result


def _device_name(config: BenchmarkSegmentationConfig) -> str:
    if config.device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return config.device


def device_name(device: torch.device) -> str:
    """The name of the GPU `device`, or the number of CPUs of this machine, for a report."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{os.cpu_count()} CPUs"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Speed and maximum memory of one stage in one round."""

    images_per_second: float
    peak_mebibytes: float | None
    """Maximum memory in MiB while the stage ran; None where the operating system does not report it."""


class _Bench:
    """The models and the images of the benchmark, and the measurement of one round."""

    def __init__(self, config: BenchmarkSegmentationConfig, device: torch.device) -> None:
        self._config, self._device = config, device
        with tempfile.TemporaryDirectory() as folder:
            manifest, count = manifest_of(config.input_uri, join_uri(folder, "manifest.parquet"))
            if count < config.images:
                raise DatasetError(f"{config.input_uri} has {count} images; lower --images {config.images}")
            rows = islice((row for batch in iter_batches(manifest) for row in batch.to_pylist()), config.images)
            named = pa.Table.from_pylist(list(rows), pa.schema([("image_id", pa.string()), ("uri", pa.string())]))
        self._block = named.append_column("size_bytes", pa.nulls(named.num_rows, pa.int64()))
        self._load = LoadStage(
            geometries=(CLIP_FRAME, SAM_IMAGE), limits=DecodeLimits(), patient_secret=PatientSecret(b"")
        )
        self.sam = _sam(config, device)
        clip, self._tokenizer = _clip(config)
        self._segmenter = ZeroShotSegmenter(clip, self._tokenizer, self.sam, TextSettings(layer=config.layer))
        self._clip = self._segmenter.clip

    def round(self) -> dict[str, Measured]:
        """Measure every stage once, by name; and the baseline as `published_loop`, if `baseline_images` is above 0.

        Raises:
            DatasetError: if an image cannot be read.
        """
        figures: dict[str, Measured] = {}
        ids, config = self._block["image_id"].to_pylist(), self._config

        @contextmanager
        def measured(name: str, images: int = config.images) -> Iterator[None]:
            with peak_memory(self._device) as peak:
                started = time.perf_counter()
                yield
                if self._device.type == "cuda":
                    torch.cuda.synchronize(self._device)
                seconds = time.perf_counter() - started
            figures[name] = Measured(images_per_second=images / seconds, peak_mebibytes=peak.mebibytes)

        with measured("load"):
            loaded = pa.concat_tables(self._load(self._block))
        frames, present = pixels_of(loaded, CLIP_FRAME)
        if not present.all():
            raise DatasetError(f"{ids[int(np.argmin(present))]} cannot be read; remove it from the input")
        images = images_of(loaded, SAM_IMAGE)
        sizes = list(zip(loaded["height"].to_pylist(), loaded["width"].to_pylist(), strict=True))
        with measured("saliency"):
            maps = self._segmenter.saliency(frames, ids)
        with measured("coarse"):
            coarse = coarse_masks(maps)
        with measured("sam_encode"):
            batch = SAM_BATCH[self._device.type]
            chunks = [images[start : start + batch] for start in range(0, len(images), batch)]
            embeddings = torch.cat([self.sam.encode(chunk) for chunk in chunks])
        boxes = [
            to_image_scale(box, self._segmenter.clip_size, *size)
            for box, size in zip(coarse.boxes_xyxy, sizes, strict=True)
        ]
        with measured("sam_decode"):
            masks = [
                self.sam.decode(*prompted, boxes=box).union
                for *prompted, box in zip(embeddings, sizes, boxes, strict=True)
            ]
        with measured("encode_masks"):
            list(map(encode_mask, masks))
        if config.baseline_images:
            with measured("published_loop", config.baseline_images):
                self._run_baseline(frames[: config.baseline_images], ids)
        return figures

    def _run_baseline(self, frames: np.ndarray, ids: list[str]) -> None:
        size = self._segmenter.clip_size
        pixels = clip_input(self._device)(np.stack([resize_image(frame, size, "bicubic") for frame in frames]))
        token_ids = self._tokenizer.tokenise(LUNG_PROMPTS[:1])[0].to(self._device)
        self._clip.requires_grad_(True)  # the published code freezes nothing
        for image, image_id in zip(pixels, ids, strict=False):
            plain_saliency(self._clip, image, token_ids, image_id, layer=self._config.layer)
        self._clip.zero_grad(set_to_none=True)
        self._clip.requires_grad_(False)


def _clip(config: BenchmarkSegmentationConfig) -> tuple[BiomedClip, PromptTokenizer]:
    if config.clip_uri:
        model = load_biomedclip(config.clip_uri)
        return model, load_tokenizer(config.clip_uri, model.config)
    words = dict.fromkeys(word for prompt in LUNG_PROMPTS for word in prompt.replace("-", " - ").split())
    return BiomedClip().eval(), PromptTokenizer([*SPECIAL_TOKENS, *words])


def _sam(config: BenchmarkSegmentationConfig, device: torch.device) -> Sam:
    if config.sam_uri:
        return load_sam(config.sam_uri, device=str(device), precision=config.precision)
    model = build_sam(SAM_CONFIGS[config.sam_type])
    return Sam(model, device=str(device), precision=config.precision, model_id=f"sam_{config.sam_type}, random weights")


def summary(rounds: list[dict[str, Measured]]) -> dict[str, Any]:
    """Medians and spread by stage, and the median of the ratios of saliency to the published loop within each round.

    Args:
        rounds: for each round, what was measured by name of the stage; `published_loop` may be missing.
    """
    result: dict[str, Any] = {"stages": {name: _stage([r[name] for r in rounds]) for name in rounds[0]}}
    if "published_loop" in rounds[0]:
        ratios = [r["saliency"].images_per_second / r["published_loop"].images_per_second for r in rounds]
        result["saliency_to_published_loop"] = statistics.median(ratios)
        result["ratio_spread"] = [min(ratios), max(ratios)]
    return result


def _stage(rounds: list[Measured]) -> dict[str, Any]:
    rates = [one.images_per_second for one in rounds]
    peaks = [one.peak_mebibytes for one in rounds if one.peak_mebibytes is not None]
    return {
        "images_per_second": statistics.median(rates),
        "spread": [min(rates), max(rates)],
        "peak_mebibytes": max(peaks, default=None),
    }


def report(result: dict[str, Any]) -> str:
    """The result of `benchmark_segmentation` as lines of text for the terminal."""
    lines = [
        f"{result['images']} images on {result['device']}, bottleneck after block {result['layer']}, {result['sam']}"
    ]
    lines.append(f"  {'stage':<16}{'s/image':>10}{'images/s':>10}   (minimum - maximum)   maximum MiB")
    for name, stage in result["stages"].items():
        rate, (low, high) = stage["images_per_second"], stage["spread"]
        peak = "" if stage["peak_mebibytes"] is None else f"{stage['peak_mebibytes']:,.0f}"
        lines.append(f"  {name:<16}{1 / rate:>10.3f}{rate:>10.2f}   ({low:.2f} - {high:.2f})   {peak}")
    if "saliency_to_published_loop" in result:
        low, high = result["ratio_spread"]
        ratio = result["saliency_to_published_loop"]
        lines.append(f"  saliency / published_loop  {ratio:.1f}   ({low:.1f} - {high:.1f})")
    return "\n".join(lines)
