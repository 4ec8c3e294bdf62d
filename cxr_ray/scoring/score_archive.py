"""An archive to predictions and masks in one pass: load -> classify -> segment what a rule asks for -> rows."""

from dataclasses import replace

import ray

from cxr_ray.archive.uris import absolute_uri
from cxr_ray.config import ScoreConfig
from cxr_ray.errors import ConfigError
from cxr_ray.models.bundle import ModelCard
from cxr_ray.schema import scores_schema
from cxr_ray.scoring.archive_job import Run, loaded_images, run_archive_job, scored_images
from cxr_ray.scoring.classify_archive import classifier_arguments, geometries, prefixes_of, read_cards
from cxr_ray.scoring.output.claim import identity_of_rows
from cxr_ray.scoring.segment_archive import SEGMENTERS_PER_GROUP, ChosenSegmenter, by_model


def score_archive(config: ScoreConfig) -> dict[str, int]:
    """Give every image of `config.input_uri` a row in `OUTPUT/scores`, unless it has one; rows by status.

    Raises:
        BundleError: if a bundle is missing, or the classifiers' labels differ.
        ConfigError: if the rule names a class that the classifiers do not tell.
        CxrRayError: as `run_archive_job` does.
    """
    config = replace(
        config,
        output_uri=absolute_uri(config.output_uri),
        segment_labels=tuple(sorted(set(config.segment_labels))),  # one rule, in whatever order it is given
    )
    cards = read_cards(config.classifier_uri)
    if unknown := set(config.segment_labels) - set(cards[0].labels):
        raise ConfigError(f"segment_labels names {', '.join(sorted(unknown))}; the classifier tells {cards[0].labels}")
    segmenter = by_model(absolute_uri(config.segmenter_uri), config.segmenting())
    model_ids = [*(card.model_id for card in cards), segmenter.model_id]
    return run_archive_job(
        config,
        table="scores",
        identity=identity_of_rows(
            config,
            scores_schema(cards[0].labels, prefixes_of(cards)),
            model_ids=model_ids,
            preprocessing_ids=[*(card.preprocessing_id for card in cards), segmenter.preprocessing_id],
        ),
        model_ids=model_ids,
        pipeline=lambda run: _pipeline(config, cards, segmenter, run),
        actors_per_group=SEGMENTERS_PER_GROUP,
    )


def _pipeline(config: ScoreConfig, cards: list[ModelCard], segmenter: ChosenSegmenter, run: Run) -> "ray.data.Dataset":
    """The whole job, top to bottom: one download, and one actor for all models."""
    from cxr_ray.scoring.stages.cascade import CascadeStage

    wanted = tuple(dict.fromkeys([*geometries(cards), *segmenter.geometries]))
    _, segment = segmenter.stage(run)
    arguments = {"config": config, "score": classifier_arguments(config.classifying(), run), "segment": segment}
    batch_size = config.batch_size or (256 if run.pool.device == "cuda" else 32)
    return scored_images(loaded_images(config, run, wanted), run, CascadeStage, arguments, batch_size=batch_size)
