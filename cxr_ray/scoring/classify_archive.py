"""Classify the images of an archive: load -> classify -> rows of predictions."""

from collections.abc import Sequence

import ray

from cxr_ray.archive.uris import absolute_uri
from cxr_ray.config import ClassifyConfig
from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.multilabel_card import read_classifier_card
from cxr_ray.models.task import task_of, task_of_mean
from cxr_ray.schema import predictions_schema
from cxr_ray.scoring.archive_job import Run, run_archive_job, scored_images
from cxr_ray.scoring.output.claim import identity_of_rows
from cxr_ray.scoring.stages.classify import ClassifyStage
from cxr_ray.scoring.stages.load import Geometry
from cxr_ray.scoring.stages.model_outputs import model_prefixes

BATCH_SIZE = {"cpu": 32, "cuda": 256}
"""Default number of images of a forward pass by device."""


def classify_archive(config: ClassifyConfig) -> dict[str, int]:
    """Classify every image of `config.input_uri` that has no row in `config.output_uri` yet.

    Returns:
        The number of rows of the output by status, and of error rows by `error:KIND`.

    Raises:
        BundleError: if a bundle is missing or damaged, or the labels of the bundles differ.
        CxrRayError: any error that `run_archive_job` raises.
    """
    cards = read_cards(config.model_uri)
    model_ids = [card.model_id for card in cards]
    return run_archive_job(
        config,
        table="predictions",
        identity=identity_of_rows(
            config,
            predictions_schema(cards[0].labels, prefixes_of(cards), task_of(cards[0]).fields_of),
            model_ids=model_ids,
            preprocessing_ids=[card.preprocessing_id for card in cards],
        ),
        model_ids=model_ids,
        pipeline=lambda run: _pipeline(config, cards, run),
    )


def _pipeline(config: ClassifyConfig, cards: list[ModelCard], run: Run) -> "ray.data.Dataset":
    """Build the pipeline from the blocks of a run to rows of predictions."""
    score = classifier_arguments(config, run)
    batch_size = config.batch_size or BATCH_SIZE[run.pool.device]
    return scored_images(config, run, geometries(cards), ClassifyStage, score, batch_size=batch_size)


def classifier_arguments(config: ClassifyConfig, run: Run) -> dict[str, object]:
    """Keyword arguments of `ClassifyStage` for a run."""
    return {
        "model_uris": tuple(map(absolute_uri, config.model_uri)),
        "device": run.pool.device,
        "engine": config.engine,
        "precision": config.precision,
        "threads": run.pool.threads_per_actor,
        "run_id": run.run_id,
    }


def read_cards(model_uris: Sequence[str]) -> list[ModelCard]:
    """Read the cards of all bundles.

    Raises:
        BundleError: if a bundle is missing or damaged, or the bundles differ in their task, their labels or the labels' order.
    """
    cards = [read_classifier_card(uri) for uri in model_uris]
    task_of_mean(model_uris, cards)
    return cards


def geometries(cards: list[ModelCard]) -> tuple[Geometry, ...]:
    """List the geometries of the models without repetition, because models of one geometry share their pixels."""
    return tuple(dict.fromkeys(Geometry(image_size=c.image_size, interpolation=c.interpolation) for c in cards))


def prefixes_of(cards: list[ModelCard]) -> tuple[str, ...]:
    """Prefixes of the columns of each model; an empty tuple if there is only one model."""
    return model_prefixes([card.backbone for card in cards])
