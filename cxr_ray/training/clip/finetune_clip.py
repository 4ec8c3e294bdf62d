"""Images and captions to a CLIP bundle, through Ray Train."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.train import Result

from cxr_ray.archive.pairs import pairs_fingerprint, read_pairs, split_by_content
from cxr_ray.archive.uris import absolute_uri
from cxr_ray.cluster.session import ray_session
from cxr_ray.config import FinetuneClipConfig
from cxr_ray.config.identity import WorkIdentity
from cxr_ray.errors import ClusterError, DatasetError
from cxr_ray.models.bundle import read_card
from cxr_ray.models.clip_card import ClipCard
from cxr_ray.training.cached_feed import cache_images
from cxr_ray.training.clip.sentences import read_sentences
from cxr_ray.training.clip.split_pairs import SplitPairs, pairs_by_split
from cxr_ray.training.clip.task import ClipTask
from cxr_ray.training.epoch_lines import epoch_line, print_line
from cxr_ray.training.feed_choice import fits_memory
from cxr_ray.training.ray_training import epochs_reported, fit, publish
from cxr_ray.training.training_output import TrainingOutput
from cxr_ray.training.workers import scaling_of

log = logging.getLogger("cxr_ray")

LINE_FIGURES = (
    ("image->text@1", "val_image_to_text_at_1"),
    ("text->image@1", "val_text_to_image_at_1"),
    ("zero-shot", "val_zero_shot_accuracy"),
)
"""Titles and names of the metrics that stand in an epoch's line."""


def finetune_clip(config: FinetuneClipConfig) -> ClipCard:
    """Train on the train split of the pairs, choose the epoch by retrieval on val, write the bundle to the output.

    The same command on the same output goes on from the last epoch that was finished there.

    Raises:
        BundleError: if the weights or their vocabulary cannot be read.
        DatasetError: if the table is no table of pairs, a split is too small, or an image cannot be read.
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
    identity = WorkIdentity.of(config, dataset=pairs_fingerprint(pairs, pairs["image"].to_pylist()))
    output = TrainingOutput(config.output_uri, identity)
    if output.is_finished(overwrite=config.overwrite):
        card = read_card(config.output_uri, ClipCard)
        print(f"{card.model_id} in {config.output_uri} was trained by this command before; --overwrite starts over")
        return card
    with ray_session():
        result = _fit(config, output, pairs)
        return _publish(config, output, result)


def check_labels(pairs: pa.Table, class_prompts: Mapping[str, Sequence[str]]) -> None:
    """Zero-shot accuracy needs labels, and prompts for each of them.

    Raises:
        DatasetError: naming the label.
    """
    labels = set(pairs["label"].drop_null().to_pylist())
    if class_prompts and not labels:
        raise DatasetError("class_prompts are given, and no pair has a label; add the column label to the table")
    if class_prompts and (unknown := labels - class_prompts.keys()):
        raise DatasetError(f"class_prompts has none for the label {', '.join(sorted(unknown))} of the table; add them")


def check_sizes(pairs: Mapping[str, SplitPairs], config: FinetuneClipConfig) -> None:
    """Every step needs a full batch on each worker, the validation two pairs, and a label if it goes by labels.

    Raises:
        DatasetError: naming the split.
    """
    most = config.worker_range[1]
    if len(pairs["train"]) < config.batch_size * most:
        raise DatasetError(
            f"{len(pairs['train'])} train pairs are too few for a --batch-size of {config.batch_size} "
            f"on each of {most} workers; lower one of them"
        )
    if len(pairs["val"]) < 2:
        raise DatasetError(f"{len(pairs['val'])} val pairs are too few, two are needed; raise --val-share or add pairs")
    if config.class_prompts and not (pairs["val"].labels >= 0).any():
        raise DatasetError("class_prompts are given, and no val pair has a label; raise --val-share or add labels")


@dataclass(frozen=True, kw_only=True, slots=True)
class _Prepared:
    """What is made of the table once, for all workers and epochs."""

    by_split: dict[str, SplitPairs]
    pixels: list[ray.ObjectRef]
    tokens: ray.ObjectRef
    prompts: dict[str, np.ndarray]
    fingerprint: str


def _prepared(config: FinetuneClipConfig, pairs: pa.Table) -> _Prepared:
    """Tokenise every caption and decode every image, once each, and share them out."""
    captions = list(dict.fromkeys(pairs["caption"].to_pylist()))  # in the order of their numbers
    prompts = [prompt for prompts in config.class_prompts.values() for prompt in prompts]
    image_size, tokens = read_sentences(config.weights_uri, [*captions, *prompts])
    uris = pairs["uri"].to_pylist()
    images = dict(zip(uris, pairs["image"].to_pylist(), strict=True))
    if not fits_memory(len(images), image_size):
        raise ClusterError(
            f"{len(images):,} images of {image_size} px take {len(images) * image_size**2 / 2**30:.1f} GiB, more than "
            "half of a node's object store; use larger nodes or fewer images"
        )
    pixels, found = cache_images(list(images.values()), list(images), image_size=image_size, interpolation="bicubic")
    content_of = dict(zip(images, found, strict=True))
    contents = [content_of[uri] for uri in uris]
    if pairs["split"].null_count:
        splits = pa.array(split_by_content(contents, config.val_share))
        pairs = pairs.set_column(pairs.schema.get_field_index("split"), "split", splits)
    by_split = pairs_by_split(pairs, contents, list(config.class_prompts))
    check_sizes(by_split, config)
    counts = {split: len(chosen) for split, chosen in by_split.items()}
    log.info("%s pairs of %s images and %s captions: %s", pairs.num_rows, len(images), len(captions), counts)
    return _Prepared(
        by_split=by_split,
        pixels=pixels,
        tokens=tokens,
        prompts=_prompt_numbers(config.class_prompts, start=len(captions)),
        fingerprint=pairs_fingerprint(pairs, contents),
    )


def _prompt_numbers(class_prompts: Mapping[str, Sequence[str]], *, start: int) -> dict[str, np.ndarray]:
    """Sentences of each class in the token table, where the first prompt has the number `start`."""
    numbers = {}
    for label, prompts in class_prompts.items():
        numbers[label] = np.arange(start, start + len(prompts))
        start += len(prompts)
    return numbers


def _fit(config: FinetuneClipConfig, output: TrainingOutput, pairs: pa.Table) -> Result:
    scaling, threads = scaling_of(config, shares_cpus=False)
    prepared = _prepared(config, pairs)

    def tell(metrics: dict[str, Any]) -> None:
        print_line(epoch_line(metrics, config.epochs, LINE_FIGURES))

    with epochs_reported(config.output_uri, (), tell) as listener:
        task = ClipTask(
            config=config,
            pairs=prepared.by_split,
            pixels=prepared.pixels,
            tokens=prepared.tokens,
            prompts=prepared.prompts,
            dataset_fingerprint=prepared.fingerprint,
            threads=threads,
            listener=listener,
        )
        return fit(finetune_loop_per_worker, task, output=output, scaling=scaling, max_failures=config.max_failures)


def _publish(config: FinetuneClipConfig, output: TrainingOutput, result: Result) -> ClipCard:
    """Copy the best epoch's bundle to the output; write history and `run.json` beside it."""
    card, history = publish(config, output, result, ClipCard)
    print(_summary(config, card, epochs=len(history)))
    return card


def _summary(config: FinetuneClipConfig, card: ClipCard, *, epochs: int) -> str:
    best = card.metrics
    zero_shot = f", zero-shot accuracy {best['val_zero_shot_accuracy']:.4f}" if config.class_prompts else ""
    return (
        f"{card.model_id} in {config.output_uri}\n"
        f"best of {epochs} epochs: {best['epoch']}, recall@1 image to text {best['val_image_to_text_at_1']:.4f}, "
        f"text to image {best['val_text_to_image_at_1']:.4f}{zero_shot}"
    )


def finetune_loop_per_worker(loop_config: dict[str, Any]) -> None:
    """Fine-tune `loop_config["task"]`, a `ClipTask`, from the last checkpoint on.

    The loop is imported in the worker alone: driver and controller load this function too, without models.
    """
    from cxr_ray.training.clip.loop import finetune_from_last_checkpoint

    finetune_from_last_checkpoint(loop_config["task"])
