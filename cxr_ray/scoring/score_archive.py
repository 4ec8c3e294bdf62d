"""Classify and segment an archive in one pass: load -> classify -> segment the images that a rule selects -> rows."""

from dataclasses import replace

import ray

from cxr_ray.archive.uris import absolute_uri
from cxr_ray.config import ScoreConfig
from cxr_ray.errors import ConfigError
from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.task import Findings, task_of
from cxr_ray.schema import scores_schema
from cxr_ray.scoring.archive_job import Run, run_archive_job, scored_images
from cxr_ray.scoring.classify_archive import classifier_arguments, geometries, prefixes_of, read_cards
from cxr_ray.scoring.output.claim import identity_of_rows
from cxr_ray.scoring.segment_archive import SEGMENTERS_PER_GROUP, ChosenSegmenter, by_model


def score_archive(config: ScoreConfig) -> dict[str, int]:
    """Classify every image of `config.input_uri` that has no row in `OUTPUT/scores` yet, and segment the selected ones.

    Returns:
        The number of rows of the output by status, and of error rows by `error:KIND`.

    Raises:
        BundleError: if a bundle is missing or damaged, or the labels of the classifiers differ.
        ConfigError: if `segment_labels` names a label that the classifiers do not predict, or a confidence is asked of no finding.
        CxrRayError: any error that `run_archive_job` raises.
    """
    config = replace(
        config,
        output_uri=absolute_uri(config.output_uri),
        segment_labels=tuple(sorted(set(config.segment_labels))),  # the order of the labels does not change the rule
    )
    cards = read_cards(config.classifier_uri)
    if unknown := set(config.segment_labels) - set(cards[0].labels):
        raise ConfigError(
            f"segment_labels names {', '.join(sorted(unknown))}; choose from the classifier's labels {cards[0].labels}"
        )
    task = task_of(cards[0])
    if isinstance(task, Findings) and config.segment_min_confidence and not config.segment_labels:
        raise ConfigError(
            f"segment_min_confidence {config.segment_min_confidence} of findings needs segment_labels; name findings of {task.labels}"
        )
    segmenter = by_model(absolute_uri(config.segmenter_uri), config.segmenting())
    model_ids = [*(card.model_id for card in cards), segmenter.model_id]
    return run_archive_job(
        config,
        table="scores",
        identity=identity_of_rows(
            config,
            scores_schema(task.labels, prefixes_of(cards), task.fields_of),
            model_ids=model_ids,
            preprocessing_ids=[*(card.preprocessing_id for card in cards), segmenter.preprocessing_id],
        ),
        model_ids=model_ids,
        pipeline=lambda run: _pipeline(config, cards, segmenter, run),
        actors_per_group=SEGMENTERS_PER_GROUP,
    )


def _pipeline(config: ScoreConfig, cards: list[ModelCard], segmenter: ChosenSegmenter, run: Run) -> "ray.data.Dataset":
    """Build the pipeline from the blocks of a run to rows of scores: one download, and all models in one actor."""
    from cxr_ray.scoring.stages.cascade import CascadeStage

    wanted = tuple(dict.fromkeys([*geometries(cards), *segmenter.geometries]))
    _, segment = segmenter.stage(run)
    arguments = {"config": config, "score": classifier_arguments(config.classifying(), run), "segment": segment}
    batch_size = config.batch_size or (256 if run.pool.device == "cuda" else 32)
    return scored_images(config, run, wanted, CascadeStage, arguments, batch_size=batch_size)
