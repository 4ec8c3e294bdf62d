"""The scoring job that a plan is made for: its stages, and the whole job over a few images in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import pyarrow as pa

from cxr_ray.config import PlanConfig, SegmentConfig
from cxr_ray.config.segmentation import MaskFiles, SegmenterSettings
from cxr_ray.errors import BundleError, WorkerError
from cxr_ray.models.bundle import kind_of
from cxr_ray.models.segmenter_ensemble import SegmenterCard
from cxr_ray.scoring.classify_archive import BATCH_SIZE, geometries, read_cards
from cxr_ray.scoring.segment_archive import SEGMENTERS_PER_GROUP, by_model
from cxr_ray.scoring.stages.classify import ClassifyStage
from cxr_ray.scoring.stages.load import Geometry
from cxr_ray.scoring.stages.segment_by_model import SegmenterStage
from cxr_ray.scoring.stages.segment_outputs import SegmentOutputs

CLASSIFY = (
    "from cxr_ray.config import ClassifyConfig, run_job; "
    "from cxr_ray.scoring.classify_archive import classify_archive; run_job(ClassifyConfig, classify_archive)"
)
SEGMENT = (
    "from cxr_ray.config import SegmentConfig, run_job; "
    "from cxr_ray.scoring.segment_archive import segment_archive; run_job(SegmentConfig, segment_archive)"
)
Stage = Callable[[pa.Table], pa.Table]


@dataclass(frozen=True, kw_only=True, slots=True)
class PlannedJob:
    """A scoring job with its models."""

    models: tuple[tuple[str, str], ...]
    """Id and preprocessing id of each model."""
    geometries: tuple[Geometry, ...]
    """Geometries in which the models take each image."""
    actors_per_group: int
    """Number of actors that share a group of CPUs, see `plan_pool`."""
    batch_sizes: dict[str, int]
    """Number of images of a batch by device."""
    stage: Callable[[str, int], Stage]
    """Makes the stage that an actor holds, from the device and the number of torch threads."""
    code: str
    """Python code of the whole job."""
    flags: tuple[str, ...]
    """Flags of the whole job, without its input and output."""

    def seconds_of(self, manifest_uri: str, output_uri: str) -> float:
        """Run the whole job over a manifest in a process and on a cluster of its own; the seconds as a user waits them.

        Raises:
            WorkerError: if the job fails; the message ends with the last line that it printed.
        """
        flags = ["--input-uri", manifest_uri, "--output-uri", output_uri, "--max-error-rate", "1", *self.flags]
        environment = os.environ | {"RAY_ADDRESS": "local", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        environment.pop("RAY_JOB_CONFIG_JSON_ENV_VAR", None)  # names files of the cluster that started this process
        started = time.monotonic()
        ended = subprocess.run(  # noqa: S603  this interpreter, with code of this file
            [sys.executable, "-c", self.code, *flags], env=environment, capture_output=True, text=True, check=False
        )
        seconds = time.monotonic() - started
        if ended.returncode:
            said = (ended.stderr.strip().splitlines() or ["no message"])[-1]
            raise WorkerError(f"the job over the sample ended with exit code {ended.returncode}: {said}")
        return seconds


def planned_job(config: PlanConfig) -> PlannedJob:
    """Choose the job for the bundles of a config: a classification, or a segmentation by one segmenter.

    Raises:
        BundleError: if a bundle is missing or damaged, classifiers differ in their labels, or a segmenter stands beside
            other bundles.
    """
    kinds = {uri: kind_of(uri) for uri in config.model_uri}
    flags = ["--device", config.device, "--engine", config.engine, "--precision", config.precision]
    flags += ["--model-uri", *config.model_uri]
    if config.batch_size is not None:
        flags = ["--batch-size", str(config.batch_size), *flags]
    if SegmenterCard.kind not in kinds.values():
        return _classification(config, tuple(flags))
    if len(kinds) > 1:
        raise BundleError(f"{' '.join(kinds)} are not all classifiers; plan for a segmenter alone")
    return _segmentation(config, tuple(flags))


def _classification(config: PlanConfig, flags: tuple[str, ...]) -> PlannedJob:
    cards = read_cards(config.model_uri)

    def stage(device: str, threads: int) -> Stage:
        return ClassifyStage(
            model_uris=config.model_uri,
            device=device,
            engine=config.engine,
            precision=config.precision,
            threads=threads,
            run_id="plan",
        )

    return PlannedJob(
        models=tuple((card.model_id, card.preprocessing_id) for card in cards),
        geometries=geometries(cards),
        actors_per_group=1,
        batch_sizes=_batch_sizes(config.batch_size, BATCH_SIZE),
        stage=stage,
        code=CLASSIFY,
        flags=flags,
    )


def _segmentation(config: PlanConfig, flags: tuple[str, ...]) -> PlannedJob:
    (uri,) = config.model_uri
    segmenter = by_model(uri, SegmentConfig(input_uri=config.manifest_uri, output_uri="", model_uri=uri))
    provenance = {"model_id": segmenter.model_id, "preprocessing_id": segmenter.preprocessing_id, "run_id": "plan"}

    def stage(device: str, threads: int) -> Stage:
        return SegmenterStage(
            model_uri=uri,
            settings=SegmenterSettings(),
            outputs=SegmentOutputs("", MaskFiles()),
            engine=config.engine,
            precision=config.precision,
            batch_size=config.batch_size,
            device=device,
            threads=threads,
            provenance=provenance,
        )

    return PlannedJob(
        models=((segmenter.model_id, segmenter.preprocessing_id),),
        geometries=segmenter.geometries,
        actors_per_group=SEGMENTERS_PER_GROUP,
        batch_sizes=_batch_sizes(config.batch_size, {"cpu": segmenter.batch_size_on_cpu, "cuda": segmenter.batch_size}),
        stage=stage,
        code=SEGMENT,
        flags=flags,
    )


def _batch_sizes(chosen: int | None, defaults: dict[str, int]) -> dict[str, int]:
    return {device: chosen or size for device, size in defaults.items()}
