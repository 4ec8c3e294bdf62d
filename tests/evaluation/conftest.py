from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.archive.tables import write_table
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.schema import DATASET, LABELS, predictions_schema, probability_column

PROVENANCE = {
    "model_id": "resnet50-0123456789ab",
    "preprocessing_id": "fedcba987654",
    "run_id": "run-1",
    "scored_at": datetime(2025, 3, 1, 2, 30, tzinfo=UTC),
    "device": "cpu",
    "engine": "torch",
    "precision": "fp32",
}


def prediction(image_id: str, label: str | None, confidence: float = 0.7, **changes: Any) -> dict[str, Any]:
    """Makes a row of predictions: scored as `label`, or failed if the label is None."""
    row = {"image_id": image_id, "uri": f"/nowhere/{image_id}", **PROVENANCE}
    if label is None:
        return row | {"status": "error", "error_kind": "truncated", "error": "cut short"} | changes
    rest = (1 - confidence) / 3
    probabilities = {probability_column(name): rest for name in LABELS}
    probabilities[probability_column(label)] = confidence
    return row | {"status": "ok", "label": label, "confidence": confidence, **probabilities} | changes


def image(image_id: str, label: str | None, split: str = "test", uri: str | None = None) -> dict[str, Any]:
    """Makes a row of a dataset."""
    return {"image_id": image_id, "uri": uri or f"/nowhere/{image_id}", "label": label, "split": split}


@pytest.fixture(name="image_row")
def image_row_fixture() -> Callable[..., dict[str, Any]]:
    return image


@pytest.fixture(name="prediction_row")
def prediction_row_fixture() -> Callable[..., dict[str, Any]]:
    return prediction


@pytest.fixture
def dataset_table() -> Callable[[list[dict[str, Any]]], pa.Table]:
    return lambda rows: pa.Table.from_pylist(rows, schema=DATASET)


@pytest.fixture
def predictions_table() -> Callable[..., pa.Table]:
    return lambda rows, labels=LABELS: pa.Table.from_pylist(rows, schema=predictions_schema(labels))


@pytest.fixture
def png_archive(tmp_path: Path) -> Callable[[str], str]:
    """Draws a small PNG of a given name and returns its path."""

    def draw(name: str) -> str:
        path = tmp_path / "archive" / name
        path.parent.mkdir(exist_ok=True)
        ramp = np.add.outer(np.arange(48), np.arange(64)).astype(np.uint8)
        Image.fromarray(ramp).save(path)
        return str(path)

    return draw


@pytest.fixture
def evaluation(
    tmp_path: Path, dataset_table: Callable[..., pa.Table], predictions_table: Callable[..., pa.Table]
) -> Callable[..., EvaluateClassifierConfig]:
    """Writes both tables as the jobs do and returns the config that compares them."""

    def write(
        images: list[dict[str, Any]], predictions: list[dict[str, Any]], **choices: Any
    ) -> EvaluateClassifierConfig:
        write_table(dataset_table(images), str(tmp_path / "dataset.parquet"))
        half = (len(predictions) + 1) // 2
        for part, rows in enumerate((predictions[:half], predictions[half:])):
            write_table(predictions_table(rows), str(tmp_path / f"scored/predictions/{part}.parquet"))
        return EvaluateClassifierConfig(
            predictions_uri=str(tmp_path / "scored"),
            dataset_uri=str(tmp_path / "dataset.parquet"),
            output_uri=str(tmp_path / "evaluation"),
            **choices,
        )

    return write
