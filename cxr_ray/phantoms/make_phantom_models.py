"""Train a small BiomedCLIP and a small SAM on phantoms, to try segmentation by text without published weights."""

from dataclasses import asdict

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.uris import absolute_uri, join_uri
from cxr_ray.config import PhantomModelsConfig
from cxr_ray.config.segmentation import TextModels, TextSettings
from cxr_ray.phantoms.phantom_clip import train_phantom_clip
from cxr_ray.phantoms.phantom_models import (
    PHANTOM_BETA,
    PHANTOM_LAYER,
    PhantomScores,
    evaluate_phantom_models,
    phantom_views,
)
from cxr_ray.phantoms.phantom_sam import train_phantom_sam

TRAINING_PHANTOMS = 192
"""Number of phantoms from which both models learn."""
EVALUATED_PHANTOMS = 24
"""Number of phantoms, not used in training, on which the models are evaluated."""


def make_phantom_models(config: PhantomModelsConfig) -> PhantomScores:
    """Train both models on drawn phantoms, evaluate them on other phantoms, and print the options that use them.

    Raises:
        StorageError: if the output folder cannot be written.
    """
    output = absolute_uri(config.output_uri)
    models = TextModels(clip_uri=join_uri(output, "clip"), sam_uri=join_uri(output, "sam.safetensors"))
    views = phantom_views(TRAINING_PHANTOMS, seed=config.seed)
    train_phantom_clip(models.clip_uri, views, seed=config.seed)
    train_phantom_sam(models.sam_uri, views, seed=config.seed)
    settings = TextSettings(layer=PHANTOM_LAYER, beta=PHANTOM_BETA)
    scores = evaluate_phantom_models(
        models, settings, phantom_views(EVALUATED_PHANTOMS, seed=config.seed, held_out=True)
    )
    write_run_record(output, config, scores=asdict(scores))
    print(
        f"To segment phantoms by text, give segment_archive.py the options --clip-uri {models.clip_uri} --sam-uri {models.sam_uri} --layer {PHANTOM_LAYER} --beta {PHANTOM_BETA}"
    )
    return scores
