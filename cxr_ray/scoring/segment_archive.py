"""An archive to masks: load -> segment by text -> rows."""

import hashlib
import json
import shlex
from dataclasses import asdict, fields, replace

import ray

from cxr_ray.archive.uris import absolute_uri
from cxr_ray.config import ArchiveJobConfig, SegmentConfig
from cxr_ray.models.clip_weights import clip_weights_uri
from cxr_ray.models.weights_cache import weights_sha256
from cxr_ray.scoring.archive_job import Run, loaded_images, run_archive_job, scored_images
from cxr_ray.scoring.output_claim import JobSignature
from cxr_ray.scoring.segment_stage import CLIP_FRAME, SAM_IMAGE, SegmentStage

OF_NO_CONSEQUENCE = ("save_overlays", "save_saliency", "save_dicom_seg", "clip_uri", "sam_uri")
"""Fields that leave the rows as they are, or that the models' ids stand for."""


def segment_archive(config: SegmentConfig) -> dict[str, int]:
    """Give every image of `config.input_uri` a mask, unless it has its row in `config.output_uri`; rows by status.

    Raises:
        BundleError: if weights are missing.
        CxrRayError: as `run_archive_job` does.
    """
    clip_uri, sam_uri, output_uri = map(absolute_uri, (config.clip_uri, config.sam_uri, config.output_uri))
    config = replace(config, clip_uri=clip_uri, sam_uri=sam_uri, output_uri=output_uri)
    hashes = {"biomedclip": weights_sha256(clip_weights_uri(clip_uri)), "sam": weights_sha256(sam_uri)}
    model_ids = [f"{name}-{sha256[:12]}" for name, sha256 in hashes.items()]
    provenance = {"model_id": "+".join(model_ids), "preprocessing_id": preprocessing_id(config)}
    return run_archive_job(
        config,
        table="masks",
        signature=JobSignature(
            input_uri=absolute_uri(config.input_uri).rstrip("/"),
            model=provenance["model_id"],
            preprocessing=provenance["preprocessing_id"],
            precision=config.precision,
            exclude=shlex.join(sorted(set(config.exclude))),
        ),
        model_ids=model_ids,
        pipeline=lambda run: _pipeline(config, hashes, provenance, run),
        carried=("label",) if config.class_prompts else (),
    )


def _pipeline(
    config: SegmentConfig, hashes: dict[str, str], provenance: dict[str, str], run: Run
) -> "ray.data.Dataset":
    """The whole job, top to bottom."""
    segment = {
        "config": config,
        "hashes": hashes,
        "device": run.pool.device,
        "threads": run.pool.threads_per_actor,
        "provenance": provenance | {"run_id": run.run_id},
    }
    batch_size = config.batch_size or (16 if run.pool.device == "cuda" else 2)
    loaded = loaded_images(config, run, (CLIP_FRAME, SAM_IMAGE))
    return scored_images(loaded, run, SegmentStage, segment, batch_size=batch_size)


def preprocessing_id(config: SegmentConfig) -> str:
    """12 hex digits that change with anything but the models that changes a mask."""
    shared = {field.name for field in fields(ArchiveJobConfig)}
    recipe = {k: v for k, v in asdict(config).items() if k not in shared and k not in OF_NO_CONSEQUENCE}
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
