"""Segment the images of an archive, by text or by a trained segmenter: load -> segment -> rows of masks."""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace

import pyarrow as pa
import ray

from cxr_ray.archive.uris import absolute_uri
from cxr_ray.config import SegmentConfig
from cxr_ray.config.segmentation import MaskFiles, MaskSettings, SegmenterSettings, TextModels, TextSettings, part_of
from cxr_ray.models.bundle import read_card
from cxr_ray.models.clip_weights import clip_weights_uri
from cxr_ray.models.segmenter_ensemble import SegmenterCard
from cxr_ray.models.weights_cache import weights_sha256
from cxr_ray.schema import MASKS
from cxr_ray.scoring.archive_job import Run, run_archive_job, scored_images
from cxr_ray.scoring.output.claim import identity_of_rows
from cxr_ray.scoring.output.state import OutputState, file_names
from cxr_ray.scoring.stages.load import Geometry
from cxr_ray.scoring.stages.segment_outputs import OVERLAY_IMAGE, SegmentOutputs

log = logging.getLogger("cxr_ray")

SEGMENTERS_PER_GROUP = 2
"""Number of segmenter actors that share a group of CPUs: while one cleans up its masks, the other computes."""


def segment_archive(config: SegmentConfig) -> dict[str, int]:
    """Segment every image of `config.input_uri` that has no row in `config.output_uri` yet.

    Returns:
        The number of rows of the output by status, and of error rows by `error:KIND`.

    Raises:
        BundleError: if a bundle is missing or damaged, or the folder `clip_uri` holds no weights.
        StorageError: if a file of weights of segmentation by text does not exist.
        CxrRayError: any error that `run_archive_job` raises.
    """
    config = with_absolute_uris(config)
    segmenter = by_model(config.model_uri, config) if config.model_uri else by_text(config.text_models(), config)
    model_ids = segmenter.model_id.split("+")
    warn_of_files_too_late(config)
    return run_archive_job(
        config,
        table="masks",
        identity=identity_of_rows(
            config,
            MASKS,
            model_ids=model_ids,
            preprocessing_ids=[segmenter.preprocessing_id],
            idle=config.idle_options,
        ),
        model_ids=model_ids,
        pipeline=lambda run: _pipeline(config, segmenter, run),
        carried=("label",) if config.class_prompts else (),
        actors_per_group=SEGMENTERS_PER_GROUP if config.model_uri else 1,
    )


def with_absolute_uris(config: SegmentConfig) -> SegmentConfig:
    """Return the config with absolute URIs, because workers have other working folders than the driver."""
    return replace(
        config,
        output_uri=absolute_uri(config.output_uri),
        model_uri=absolute_uri(config.model_uri) if config.model_uri else None,
        clip_uri=absolute_uri(config.clip_uri) if config.clip_uri else None,
        sam_uri=absolute_uri(config.sam_uri) if config.sam_uri else None,
    )


def warn_of_files_too_late(config: SegmentConfig) -> None:
    """Log a warning if overlays or other files are asked for and some images already have a row: these get no files."""
    wanted = [option.name.removeprefix("save_") for option in fields(MaskFiles) if getattr(config, option.name)]
    rows_uri = OutputState(config.output_uri, "masks", config.shard).rows_uri
    if wanted and not config.overwrite and file_names(rows_uri):
        log.warning(
            "images that already have a row in %s get no %s; --overwrite segments all images again",
            rows_uri,
            " or ".join(wanted),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class ChosenSegmenter:
    """The models of a segmentation job, and how a pipeline applies them."""

    model_id: str
    """Id of the model; ids of several models are joined by a plus."""
    preprocessing_id: str
    """Id of the preprocessing and the settings, 12 hex digits."""
    geometries: tuple[Geometry, ...]
    """Geometries in which the stage takes each image."""
    batch_size: int
    """Default number of images of a batch on a GPU."""
    batch_size_on_cpu: int
    """Default number of images of a batch on a CPU."""
    stage: Callable[[Run], tuple[type, dict[str, object]]]
    """Function that gives the stage's class and keyword arguments; it imports the class, and with it torch, late."""
    divided: Callable[[Run], tuple[type, dict[str, object], Callable[[pa.Table], pa.Table]]] | None
    """Function that gives the class and the arguments of a stage whose rows a second one finishes on CPUs, and that second
    stage; None if the stage cannot be divided."""


def by_text(models: TextModels, config: SegmentConfig) -> ChosenSegmenter:
    """Choose segmentation by text with BiomedCLIP and SAM.

    Args:
        models: absolute URIs of the weights of both models.
        config: config of the job, with the settings.

    Raises:
        BundleError: if the folder of BiomedCLIP holds no weights, or the cache of weights cannot be written.
        StorageError: if a file of weights does not exist.
    """
    settings = part_of(config, TextSettings)
    hashes = {
        "biomedclip": weights_sha256(clip_weights_uri(models.clip_uri)),
        "sam": weights_sha256(models.sam_uri),
    }
    provenance = {
        "model_id": "+".join(f"{name}-{sha256[:12]}" for name, sha256 in hashes.items()),
        "preprocessing_id": settings_id(settings),
    }

    def stage(run: Run) -> tuple[type, dict[str, object]]:
        from cxr_ray.scoring.stages.segment_by_text import TextStage

        own = {"models": models, "settings": settings, "hashes": hashes}
        return TextStage, own | stage_arguments(config, run, provenance)

    from cxr_ray.scoring.stages.segment_by_text import CLIP_FRAME, SAM_IMAGE

    return ChosenSegmenter(
        **provenance,
        geometries=(CLIP_FRAME, SAM_IMAGE),
        batch_size=16,
        batch_size_on_cpu=2,
        stage=stage,
        divided=None,
    )


def by_model(model_uri: str, config: SegmentConfig) -> ChosenSegmenter:
    """Choose segmentation by the trained segmenter in a bundle.

    Args:
        model_uri: absolute URI of the bundle.
        config: config of the job, with the settings.

    Raises:
        BundleError: if the bundle is missing or damaged.
    """
    card, settings = read_card(model_uri, SegmenterCard), part_of(config, SegmenterSettings)
    preprocessing = json.dumps([card.preprocessing_id, settings_id(settings)])
    provenance = {
        "model_id": card.model_id,
        "preprocessing_id": hashlib.sha256(preprocessing.encode()).hexdigest()[:12],
    }

    def stage(run: Run) -> tuple[type, dict[str, object]]:
        from cxr_ray.scoring.stages.segment_by_model import SegmenterStage

        return SegmenterStage, own | stage_arguments(config, run, provenance)

    def divided(run: Run) -> tuple[type, dict[str, object], Callable[[pa.Table], pa.Table]]:
        from cxr_ray.scoring.stages.masks_of_maps import MaskStage
        from cxr_ray.scoring.stages.segment_by_model import MapStage

        arguments = own | stage_arguments(config, run, provenance)
        del arguments["outputs"]
        outputs = SegmentOutputs(config.output_uri, part_of(config, MaskFiles))
        return MapStage, arguments | {"files": outputs.files}, MaskStage(settings=settings, outputs=outputs)

    own: dict[str, object] = {
        "model_uri": model_uri,
        "settings": settings,
        "engine": config.engine,
        "batch_size": config.batch_size,
    }
    frame = Geometry(image_size=card.image_size, interpolation=card.interpolation)
    geometries = (frame, OVERLAY_IMAGE) if config.save_overlays else (frame,)
    return ChosenSegmenter(
        **provenance, geometries=geometries, batch_size=64, batch_size_on_cpu=32, stage=stage, divided=divided
    )


def stage_arguments(config: SegmentConfig, run: Run, provenance: dict[str, str]) -> dict[str, object]:
    """Keyword arguments that the stages of both kinds of segmentation have in common."""
    return {
        "outputs": SegmentOutputs(config.output_uri, part_of(config, MaskFiles)),
        "precision": config.precision,
        "device": run.pool.device,
        "threads": run.pool.threads_per_actor,
        "provenance": provenance | {"run_id": run.run_id},
    }


def _pipeline(config: SegmentConfig, segmenter: ChosenSegmenter, run: Run) -> "ray.data.Dataset":
    """Build the pipeline from the blocks of a run to rows of masks."""
    stage, arguments, finish = segmenter.divided(run) if segmenter.divided else (*segmenter.stage(run), None)
    default = segmenter.batch_size if run.pool.device == "cuda" else segmenter.batch_size_on_cpu
    batch_size = config.batch_size or default
    return scored_images(config, run, segmenter.geometries, stage, arguments, batch_size=batch_size, finish=finish)


def settings_id(settings: MaskSettings) -> str:
    """Hash the settings of a kind of segmentation to 12 hex digits, because each setting changes masks."""
    return hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode()).hexdigest()[:12]
