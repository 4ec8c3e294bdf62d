"""Outputs of models for a batch of loaded images, and the columns that say which models gave them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.models.classifier import Classifier
from cxr_ray.models.encoder import Encoder
from cxr_ray.models.precision import hardware_name
from cxr_ray.schema import NOT_FINITE
from cxr_ray.scoring.stages.load import Geometry, pixels_of

Model = Classifier | Encoder


def outputs_of(batch: pa.Table, models: Sequence[Model], widths: Sequence[int]) -> tuple[list[np.ndarray], np.ndarray]:
    """Compute with each model the K of N images that have pixels.

    Args:
        batch: N rows of `LoadStage`.
        models: the models, 1 or more.
        widths: number of outputs C of each model.

    Returns:
        The outputs float32 [K, C] of each model, and bool [N], true for the images that have pixels.
    """
    outputs, present = [], np.zeros(batch.num_rows, bool)
    for model, width in zip(models, widths, strict=True):
        pixels, present = pixels_of(
            batch, Geometry(image_size=model.card.image_size, interpolation=model.card.interpolation)
        )
        outputs.append(model.engine(pixels) if len(pixels) else np.empty((0, width), np.float32))
    return outputs, present


def refuse_not_finite(
    batch: pa.Table, outputs: list[np.ndarray], present: np.ndarray, values: Mapping[str, str] = NOT_FINITE
) -> tuple[pa.Table, list[np.ndarray], np.ndarray]:
    """Make a row an error if a model's output for it is NaN or infinity, which would otherwise pass for a result.

    Args:
        batch: N rows of `LoadStage`.
        outputs: outputs [K, C] of each model.
        present: bool [N], true for the K rows that were computed.
        values: status, kind and text of such an error.

    Returns:
        The first three arguments without the outputs of the new error rows.
    """
    finite = np.all([np.isfinite(output).all(1) for output in outputs], axis=0)
    if finite.all():
        return batch, outputs, present
    refused = np.zeros_like(present)
    refused[np.flatnonzero(present)[~finite]] = True
    for name, value in values.items():
        column = pc.if_else(pa.array(refused), value, batch[name])
        batch = batch.set_column(batch.column_names.index(name), name, column)
    return batch, [output[finite] for output in outputs], present & ~refused


def provenance_of(models: Sequence[Model], run_id: str, rows: int) -> dict[str, pa.Array]:
    """Columns of `schema.PROVENANCE_FIELDS` for a number of rows, which all `models` computed together."""
    cards = [model.card for model in models]
    now = pa.scalar(datetime.now(UTC), pa.timestamp("us", tz="UTC"))
    return {
        "model_id": pa.array([joint_model_id([card.model_id for card in cards])] * rows),
        "preprocessing_id": pa.array(["+".join(dict.fromkeys(card.preprocessing_id for card in cards))] * rows),
        "run_id": pa.array([run_id] * rows),
        "scored_at": pa.repeat(now, rows),
        "device": pa.array([hardware_name(models[0].device_name)] * rows),
        "engine": pa.array(["+".join(dict.fromkeys(model.engine.name for model in models))] * rows),
        "precision": pa.array(["+".join(dict.fromkeys(model.precision for model in models))] * rows),
    }


def model_prefixes(backbones: list[str]) -> tuple[str, ...]:
    """Column prefixes of two or more models, such as `resnet50_` and `resnet50_2_`; no prefix for a single model."""
    if len(backbones) == 1:
        return ()
    seen: dict[str, int] = {}
    prefixes = []
    for backbone in backbones:
        seen[backbone] = seen.get(backbone, 0) + 1
        prefixes.append(f"{backbone}_" if seen[backbone] == 1 else f"{backbone}_{seen[backbone]}_")
    return tuple(prefixes)


def joint_model_id(model_ids: list[str]) -> str:
    """Join the ids of the models that compute a row together; the id of a single model does not change."""
    return "+".join(model_ids)
