"""A BiomedCLIP and a SAM to try segmentation by text with, where no published weights are at hand."""

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

JUDGED = 24


def make_phantom_models(config: PhantomModelsConfig) -> PhantomScores:
    """Train both on drawn phantoms, judge them on others, and say how to use them."""
    output = absolute_uri(config.output_uri)
    models = TextModels(clip_uri=join_uri(output, "clip"), sam_uri=join_uri(output, "sam.safetensors"))
    train_phantom_clip(models.clip_uri, seed=config.seed)
    train_phantom_sam(models.sam_uri, seed=config.seed)
    settings = TextSettings(layer=PHANTOM_LAYER, beta=PHANTOM_BETA)
    scores = evaluate_phantom_models(models, settings, phantom_views(JUDGED, seed=config.seed, held_out=True))
    write_run_record(output, config, scores=asdict(scores))
    print(f"--clip-uri {models.clip_uri} --sam-uri {models.sam_uri} --layer {PHANTOM_LAYER} --beta {PHANTOM_BETA}")
    return scores
