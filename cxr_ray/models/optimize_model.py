"""Give a classifier an int8 network, unless that loses too much accuracy on images that it has not seen."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow as pa

from cxr_ray.archive.datasets import dataset_fingerprint, read_dataset, rows_of_split
from cxr_ray.archive.job_outputs import require_other_place
from cxr_ray.archive.uris import absolute_uri, exists, join_uri
from cxr_ray.config import OptimizeConfig
from cxr_ray.config.terminal import print_line
from cxr_ray.errors import BundleError, ConfigError, LossyModelError
from cxr_ray.metrics.paired import paired_metrics
from cxr_ray.models.bundle import CARD_NAME, ModelCard, load_weights, read_card, save_bundle
from cxr_ray.models.classifier import forward_pass
from cxr_ray.models.dataset_images import LabelledImages, batches_of_pixels, labelled_images
from cxr_ray.models.engines.fastest_engine import fastest_engine
from cxr_ray.models.engines.int8_network import Int8Network
from cxr_ray.models.engines.quantize import int8_program, quantize, require_quantizer
from cxr_ray.models.task import outcomes

Predict = Callable[[np.ndarray], np.ndarray]
"""Probabilities float32 [N, C] of uint8 [N, S, S]."""


def optimize_model(config: OptimizeConfig, show: Callable[[str], object] = print_line) -> ModelCard:
    """Write the bundle of `config.model_uri` with an int8 network to `config.output_uri`, and return its card.

    Args:
        config: the model, the dataset, the output and the loss that is allowed.
        show: function that is called with each line of the summary.

    Raises:
        LossyModelError: if the int8 network loses more accuracy than allowed; nothing is written then.
        BundleError: if the bundle is no classifier, is damaged, or gives numbers that are not finite.
        EngineError: if NNCF or OpenVINO is not installed, or cannot quantise the network.
        DatasetError: if a split is empty, an image cannot be read, or no val image has a label that the model knows.
        ConfigError: if a bundle is at the output, or the output is the bundle itself.
        StorageError: if the output cannot be written.
    """
    output_uri = absolute_uri(config.output_uri)
    if exists(join_uri(output_uri, CARD_NAME)) and not config.overwrite:
        raise ConfigError(f"a bundle is at {output_uri}; name another output or add --overwrite")
    require_other_place(config.output_uri, model_uri=config.model_uri)
    require_quantizer()
    card, dataset = read_card(config.model_uri), read_dataset(config.dataset_uri)
    val = labelled_images(rows_of_split(dataset, "val"), card)
    calibration = _drawn(rows_of_split(dataset, "train"), config)
    for label, count in val.left_out.items():
        reason = "without a label" if label is None else f"of the class {label}, which the classifier does not know,"
        show(f"note: {count} val images {reason} are left out")
    show(
        f"quantising {card.model_id} with {calibration.num_rows} train images, then comparing on {len(val.truth)} val images"
    )
    network = quantize(forward_pass(config.model_uri, card), np.concatenate([*batches_of_pixels(calibration, card)]))
    metrics = _compared(config, card, network, val)
    for line in summary(metrics):
        show(line)
    _refuse_loss(metrics, config.max_loss)
    facts = {
        "calibration_images": calibration.num_rows,
        "dataset_fingerprint": dataset_fingerprint(dataset),
        "made_from": card.model_id,
        "max_loss": config.max_loss,
        "versions": {name: version(name) for name in ("nncf", "openvino")},
    }
    written = _write(config.model_uri, card, network, metrics | facts, output_uri)
    show(f"int8 bundle {written.model_id} in {output_uri}; OpenVINO computes it on CPUs")
    return written


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """Lines of text that put the original and the int8 network side by side, from `paired_metrics`."""
    names = {"accuracy": "accuracy", "brier": "Brier score", "ece": "expected calibration error"}
    lines = [f"{'':<28}{'original':>10}{'int8':>10}{'difference':>12}  (95 % interval)"]
    for key, name in names.items():
        found = metrics[key]
        low, high = found["difference_interval"]
        lines.append(
            f"{name:<28}{found['original']:>10.4f}{found['int8']:>10.4f}{found['difference']:>+12.4f}"
            f"  ({low:+.4f} to {high:+.4f})"
        )
    low, high = metrics["agreement_interval"]
    mean, most = metrics["mean_difference"], metrics["max_difference"]
    lines.append(
        f"equal labels: {metrics['agreement']:.4f} ({low:.4f} to {high:.4f}); probabilities differ by {mean:.4f} in the mean "
        f"and {most:.4f} at most"
    )
    lines.append(
        f"on {metrics['n_images']} val images of {metrics['n_groups']} groups (patients, or copies of an image), which the "
        "intervals draw anew"
    )
    return lines


def _drawn(rows: pa.Table, config: OptimizeConfig) -> pa.Table:
    """Draw the calibration images, without repetition; all of them if there are not more."""
    order = np.random.default_rng(config.seed).permutation(rows.num_rows)
    return rows.take(np.sort(order[: config.calibration_images]))


def _compared(config: OptimizeConfig, card: ModelCard, network: Int8Network, val: LabelledImages) -> dict[str, Any]:
    """Metrics of the original in fp32 and of its int8 network on the val images."""
    original = fastest_engine(forward_pass(config.model_uri, card), device="cpu", precision="fp32")
    with TemporaryDirectory(prefix="cxr_ray_int8_") as folder:
        programs: dict[str, Predict] = {"original": original, "int8": int8_program(network, Path(folder))}
        scores: dict[str, list[np.ndarray]] = {name: [] for name in programs}
        for pixels in batches_of_pixels(val.rows, card):
            for name, predict in programs.items():
                scores[name].append(predict(pixels))
    probabilities = {name: np.concatenate(parts).astype(np.float64) for name, parts in scores.items()}
    for name, probs in probabilities.items():
        if not np.isfinite(probs).all():
            broken = int((~np.isfinite(probs).all(1)).sum())
            raise BundleError(
                f"{config.model_uri}: the {name} network gives no finite number for {broken} of {len(probs)} val images; "
                "train or export the model again"
            )
    full = {name: outcomes(card.labels, probs)[1] for name, probs in probabilities.items()}
    return paired_metrics(val.truth, full, val.groups, seed=config.seed)


def _refuse_loss(metrics: Mapping[str, Any], max_loss: float) -> None:
    accuracy = metrics["accuracy"]
    loss = accuracy["original"] - accuracy["int8"]
    if loss > max_loss + 1e-12:  # fractions of images are not exact
        raise LossyModelError(
            f"int8 loses {loss:.4f} of the accuracy on {metrics['n_images']} val images, more than max_loss {max_loss}; "
            "nothing was written: calibrate with more images, or allow a larger --max-loss"
        )


def _write(
    model_uri: str, card: ModelCard, network: Int8Network, metrics: Mapping[str, Any], output_uri: str
) -> ModelCard:
    """Write the weights, unchanged, and the int8 network, and a card that differs in what belongs to this network."""
    fields = asdict(replace(card, metrics=card.metrics | {"int8": dict(metrics)}, precision="int8"))
    for name in ("weights_sha256", "created_at", "code_version"):
        del fields[name]
    return save_bundle(output_uri, load_weights(model_uri, card) | network.tensors(), **fields)
