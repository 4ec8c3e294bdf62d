"""Fine-tuning of BiomedCLIP on images and captions, through Ray Train."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ray.actor import ActorHandle

from cxr_ray.archive.pairs import pairs_fingerprint, read_pairs, split_by_content
from cxr_ray.archive.uris import absolute_uri
from cxr_ray.config import FinetuneClipConfig
from cxr_ray.errors import ClusterError, DatasetError
from cxr_ray.models.clip_card import ClipCard
from cxr_ray.training.cached_feed import cache_images
from cxr_ray.training.clip.sentences import read_sentences
from cxr_ray.training.clip.split_pairs import SplitPairs, pairs_by_split
from cxr_ray.training.clip.task import ClipTask
from cxr_ray.training.object_store import memory_excess
from cxr_ray.training.ray_training import PreparedTask, Training, check_full_batches, run_training
from cxr_ray.training.workers import scaling_of

log = logging.getLogger("cxr_ray")

LINE_METRICS = (
    ("image->text@1", "val_image_to_text_at_1"),
    ("text->image@1", "val_text_to_image_at_1"),
    ("zero-shot", "val_zero_shot_accuracy"),
)


def finetune_clip(config: FinetuneClipConfig) -> ClipCard:
    """Train on the train split of the pairs, choose the best epoch by retrieval on val, write its bundle to the output.

    The same command on the same output resumes after the last finished epoch.

    Raises:
        BundleError: if the weights or their vocabulary cannot be read.
        DatasetError: if the table does not hold pairs, labels and prompts do not match, a split is too small, or an image
            cannot be read.
        ClusterError: if the cluster cannot hold the workers or the images.
        ResumeError: if the output holds another training.
        TrainingError: if the training diverges or its workers are lost too often.
    """
    config = replace(
        config,
        dataset_uri=absolute_uri(config.dataset_uri),
        weights_uri=absolute_uri(config.weights_uri),
        output_uri=absolute_uri(config.output_uri),
    )
    pairs = read_pairs(config.dataset_uri)
    if pairs["split"].null_count < pairs.num_rows:
        pairs = pairs.filter(pc.not_equal(pairs["split"], "test"))
    check_labels(pairs, config.class_prompts)
    training = Training(
        config=config,
        task="clip",
        epochs=config.epochs,
        dataset_fingerprint=pairs_fingerprint(pairs, pairs["image"].to_pylist()),
        card_type=ClipCard,
        loop_per_worker=finetune_loop_per_worker,
        prepare=partial(_prepare, config, pairs),
        line_metrics=LINE_METRICS,
        summary=partial(_summary, config),
    )
    return run_training(training)


def check_labels(pairs: pa.Table, class_prompts: Mapping[str, Sequence[str]]) -> None:
    """Refuse a table that does not match the prompts of the classes; without prompts, accept any table.

    Args:
        pairs: table with the column `label`.
        class_prompts: prompts by label.

    Raises:
        DatasetError: if there are prompts and no pair has a label, or if a label has no prompts.
    """
    labels = set(pairs["label"].drop_null().to_pylist())
    if class_prompts and not labels:
        raise DatasetError("class_prompts are given, but no pair has a label; add the column label to the table")
    if class_prompts and (unknown := labels - class_prompts.keys()):
        raise DatasetError(
            f"class_prompts has no prompts for the label {', '.join(sorted(unknown))} of the table; add prompts for each label"
        )


def check_sizes(pairs: Mapping[str, SplitPairs], config: FinetuneClipConfig) -> None:
    """Refuse a train split without a full batch for each worker, and a val split without two pairs or without labels.

    Raises:
        DatasetError: if the train split is too small, the val split has fewer than two pairs, or `class_prompts` are given
            and no val pair has a label.
    """
    check_full_batches(len(pairs["train"]), "pairs", batch_size=config.batch_size, workers=config.worker_range[1])
    if len(pairs["val"]) < 2:
        raise DatasetError(
            f"{len(pairs['val'])} val pairs are too few, two are needed; raise --val-fraction or add pairs"
        )
    if config.class_prompts and not (pairs["val"].labels >= 0).any():
        raise DatasetError("class_prompts are given, but no val pair has a label; raise --val-fraction or add labels")


def _prepare(config: FinetuneClipConfig, pairs: pa.Table, listener: ActorHandle) -> PreparedTask:
    """Choose the workers' resources, tokenise every caption once, and decode every image once.

    Raises:
        ClusterError: if the images do not fit into the cluster's memory.
    """
    scaling, threads = scaling_of(config, streams_images=False)
    captions = list(dict.fromkeys(pairs["caption"].to_pylist()))  # in the order in which `pairs_by_split` numbers them
    prompts = [prompt for prompts in config.class_prompts.values() for prompt in prompts]
    image_size, tokens = read_sentences(config.weights_uri, [*captions, *prompts])
    uris = pairs["uri"].to_pylist()
    images = dict(zip(uris, pairs["image"].to_pylist(), strict=True))
    if excess := memory_excess(len(images), image_size):
        raise ClusterError(f"{excess}; use larger nodes or fewer images")
    pixels, found = cache_images(list(images.values()), list(images), image_size=image_size, interpolation="bicubic")
    content_of = dict(zip(images, found, strict=True))
    contents = [content_of[uri] for uri in uris]
    if pairs["split"].null_count:
        splits = pa.array(split_by_content(contents, config.val_fraction))
        pairs = pairs.set_column(pairs.schema.get_field_index("split"), "split", splits)
    by_split = pairs_by_split(pairs, contents, list(config.class_prompts))
    check_sizes(by_split, config)
    counts = {split: len(chosen) for split, chosen in by_split.items()}
    log.info(
        "%s pairs of %s images and %s captions; pairs by split: %s", pairs.num_rows, len(images), len(captions), counts
    )
    task = ClipTask(
        config=config,
        pairs=by_split,
        pixels=pixels,
        tokens=tokens,
        prompts=_prompt_numbers(config.class_prompts, start=len(captions)),
        dataset_fingerprint=pairs_fingerprint(pairs, contents),
        threads=threads,
        listener=listener,
    )
    return PreparedTask(task=task, scaling=scaling)


def _prompt_numbers(class_prompts: Mapping[str, Sequence[str]], *, start: int) -> dict[str, np.ndarray]:
    """Row numbers of each class's prompts in the token table, int64; the first prompt has the number `start`."""
    numbers = {}
    for label, prompts in class_prompts.items():
        numbers[label] = np.arange(start, start + len(prompts))
        start += len(prompts)
    return numbers


def _summary(config: FinetuneClipConfig, card: ClipCard, epochs: int) -> str:
    best = card.metrics
    zero_shot = f", zero-shot accuracy {best['val_zero_shot_accuracy']:.4f}" if config.class_prompts else ""
    return (
        f"{card.model_id} in {config.output_uri}\n"
        f"best of {epochs} epochs: epoch {best['epoch']}, recall@1 image to text {best['val_image_to_text_at_1']:.4f}, "
        f"text to image {best['val_text_to_image_at_1']:.4f}{zero_shot}"
    )


def finetune_loop_per_worker(loop_config: dict[str, Any]) -> None:
    """Run the task `loop_config["task"]` on a worker; only workers import the training loop."""
    from cxr_ray.training.clip.loop import finetune_from_last_checkpoint

    finetune_from_last_checkpoint(loop_config["task"])
