"""The pipeline `image-classification` of Hugging Face's transformers."""

import os
import time
from typing import Any

import torch

from cxr_ray.benchmarks.peers.peer import PeerTask
from cxr_ray.config.backbones import BACKBONES
from cxr_ray.errors import ConfigError
from cxr_ray.models.bundle import load_weights


def scored_at(task: PeerTask) -> list[float]:
    """Score the files; the time in seconds since 1970 at which the batch of each was done.

    Raises:
        ConfigError: if the bundle is an imported network, whose options transformers does not pass on to timm.
    """
    from transformers import TimmWrapperConfig, TimmWrapperForImageClassification, TimmWrapperImageProcessor, pipeline

    card = task.card
    if card.backbone not in BACKBONES:
        raise ConfigError(f"transformers cannot build the imported network {card.backbone!r}; leave out pipeline_*")
    names = dict(enumerate(card.labels))
    config = TimmWrapperConfig(
        architecture=BACKBONES[card.backbone].timm_name,
        id2label=names,
        label2id={label: index for index, label in names.items()},
        model_args={"img_size": card.image_size} if BACKBONES[card.backbone].patch_size else None,
    )
    model: Any = TimmWrapperForImageClassification(config)
    model.timm_model.load_state_dict(load_weights(task.model_uri, card))
    shape = (3, card.image_size, card.image_size)
    ways = {"input_size": shape, "mean": card.mean, "std": card.std, "interpolation": "bilinear", "crop_mode": "squash"}
    classify = pipeline(
        "image-classification",
        model=model.eval(),
        image_processor=TimmWrapperImageProcessor(pretrained_cfg={**ways, "crop_pct": 1.0}),
        batch_size=task.batch_size,
        num_workers=os.cpu_count() or 1,
        device=task.device,
        dtype=torch.bfloat16 if task.precision == "bf16" else torch.float32,
    )
    model.to(torch.bfloat16 if task.precision == "bf16" else torch.float32)
    return [time.time() for _ in classify(uri for uri in task.uris)]
