"""Metrics of BiomedCLIP over the whole validation split; each worker encodes one shard of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from cxr_ray.config import FinetuneClipConfig
from cxr_ray.metrics.retrieval import retrieval_metrics, zero_shot_accuracy
from cxr_ray.models.biomedclip import BiomedClip
from cxr_ray.models.dhn_nce import dhn_nce_loss
from cxr_ray.training.clip.split_pairs import SplitPairs, same_pairs
from cxr_ray.training.clip.token_table import TokenTable
from cxr_ray.training.clip.views import PairBatch
from cxr_ray.training.epochs import AutocastFactory
from cxr_ray.training.shards import positions_of


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedShard:
    """Features of one worker's shard of the validation split."""

    positions: np.ndarray
    """int64 [n], positions of the pairs within the split."""
    images: np.ndarray
    """float32 [n, D], features of the images, of L2 norm 1."""
    texts: np.ndarray
    """float32 [n, D], features of the captions, of L2 norm 1."""

    @property
    def is_finite(self) -> bool:
        """Whether all features are finite numbers."""
        return bool(np.isfinite(self.images).all() and np.isfinite(self.texts).all())


@torch.inference_mode()
def encode_shard(model: BiomedClip, batches: Iterable[PairBatch], *, autocast: AutocastFactory) -> EncodedShard:
    """Encode this worker's shard of the validation split; `batches` must hold each pair of the shard once."""
    model.eval()
    none = np.empty((0, model.config.projection), np.float32)
    positions, images, texts = [np.empty(0, np.int64)], [none], [none]
    for batch in batches:
        with autocast():
            image_features, text_features = model.encode_image(batch.pixels), model.encode_text(batch.token_ids)
        positions.append(batch.positions)
        images.append(image_features.cpu().numpy())
        texts.append(text_features.cpu().numpy())
    return EncodedShard(positions=np.concatenate(positions), images=np.concatenate(images), texts=np.concatenate(texts))


@torch.inference_mode()
def class_features(
    model: BiomedClip, tokens: TokenTable, prompts: Iterable[np.ndarray], *, autocast: AutocastFactory
) -> np.ndarray:
    """Mean features of the prompts of K classes, float32 [K, D] of L2 norm 1.

    `prompts` holds the row numbers in `tokens` of each class's prompts, int64 [P] for a class with P prompts.
    """
    model.eval()
    means = []
    for sentences in prompts:
        with autocast():
            features = model.encode_text(tokens.take(sentences).to(model.logit_scale.device))
        means.append(functional.normalize(features.mean(0), dim=0))
    return torch.stack(means).cpu().numpy()


def validation_metrics(
    shards: Sequence[EncodedShard], pairs: SplitPairs, config: FinetuneClipConfig, classes: np.ndarray | None
) -> dict[str, float]:
    """Compute metrics over all shards together, which do not depend on the number of workers.

    `val_loss` is the mean loss of batches of about `config.batch_size` pairs, which are the same in every epoch;
    `val_image_to_text_at_K`, `val_text_to_image_at_K` and `val_recall_at_1` are those of `retrieval_metrics`;
    `val_zero_shot_accuracy` counts each labelled image once.

    Args:
        shards: encoded shards of all workers.
        pairs: pairs of the validation split.
        config: config with the batch size and the parameters of the loss.
        classes: class features float32 [K, D] of `class_features`; None omits the zero-shot accuracy.

    Raises:
        ValueError: if the shards together do not hold every pair of the split exactly once.
    """
    order = np.argsort(positions_of(shards, len(pairs), "pairs"))
    images = np.concatenate([shard.images for shard in shards])[order]
    texts = np.concatenate([shard.texts for shard in shards])[order]
    metrics = {"loss": _loss(images, texts, pairs, config)} | retrieval_metrics(
        images, texts, pairs.images, pairs.captions
    )
    if classes is not None:
        _, first = np.unique(pairs.images, return_index=True)
        labelled = first[pairs.labels[first] >= 0]
        metrics["zero_shot_accuracy"] = zero_shot_accuracy(images[labelled], classes, pairs.labels[labelled])
    return {f"val_{name}": value for name, value in metrics.items()}


def _loss(images: np.ndarray, texts: np.ndarray, pairs: SplitPairs, config: FinetuneClipConfig) -> float:
    """Mean DHN-NCE loss over batches of about `config.batch_size` pairs, which are the same in every epoch."""
    order = np.random.default_rng(config.seed).permutation(len(images))
    batches = np.array_split(order, max(1, len(order) // config.batch_size))
    losses = [
        dhn_nce_loss(
            torch.from_numpy(images[batch]),
            torch.from_numpy(texts[batch]),
            tau=config.tau,
            beta1=config.beta1,
            beta2=config.beta2,
            same=same_pairs(torch.from_numpy(pairs.identities[batch])),
        )
        for batch in batches
    ]
    return float(np.average([float(loss) for loss in losses], weights=[len(batch) for batch in batches]))
