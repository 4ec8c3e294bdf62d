"""Compute the embeddings of the images of an archive: load -> embed -> rows of embeddings."""

import ray

from cxr_ray.archive.uris import absolute_uri
from cxr_ray.config import EmbedConfig
from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.encoder import features_of, read_encoder_card
from cxr_ray.schema import embeddings_schema
from cxr_ray.scoring.archive_job import Run, run_archive_job, scored_images
from cxr_ray.scoring.classify_archive import BATCH_SIZE, geometries, prefixes_of
from cxr_ray.scoring.output.claim import identity_of_rows
from cxr_ray.scoring.stages.embed import EmbedStage


def embed_archive(config: EmbedConfig) -> dict[str, int]:
    """Embed every image of `config.input_uri` that has no row in `config.output_uri` yet.

    Returns:
        The number of rows of the output by status, and of error rows by `error:KIND`.

    Raises:
        BundleError: if a bundle is missing or damaged, or neither an encoder nor a classifier.
        ConfigError: if a network has no layer `config.layer`.
        CxrRayError: any error that `run_archive_job` raises.
    """
    cards = [read_encoder_card(uri) for uri in config.model_uri]
    sizes = tuple(features_of(uri, card, config.layer) for uri, card in zip(config.model_uri, cards, strict=True))
    model_ids = [card.model_id for card in cards]
    return run_archive_job(
        config,
        table="embeddings",
        identity=identity_of_rows(
            config,
            embeddings_schema(sizes, prefixes_of(cards)),
            model_ids=model_ids,
            preprocessing_ids=[card.preprocessing_id for card in cards],
        ),
        model_ids=model_ids,
        pipeline=lambda run: _pipeline(config, cards, sizes, run),
    )


def _pipeline(config: EmbedConfig, cards: list[ModelCard], sizes: tuple[int, ...], run: Run) -> "ray.data.Dataset":
    """Build the pipeline from the blocks of a run to rows of embeddings."""
    arguments = {
        "model_uris": tuple(map(absolute_uri, config.model_uri)),
        "layer": config.layer,
        "sizes": sizes,
        "device": run.pool.device,
        "engine": config.engine,
        "precision": config.precision,
        "threads": run.pool.threads_per_actor,
        "run_id": run.run_id,
    }
    batch_size = config.batch_size or BATCH_SIZE[run.pool.device]
    return scored_images(config, run, geometries(cards), EmbedStage, arguments, batch_size=batch_size)
