from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.archive.tables import write_table
from cxr_ray.imaging.mask_rle import encode_mask
from cxr_ray.schema import LABELS, MASKS, predictions_schema, probability_column

PROVENANCE = {
    "model_id": "resnet50-0123456789ab",
    "preprocessing_id": "fedcba987654",
    "run_id": "run-1",
    "scored_at": datetime(2026, 3, 1, 2, 30, tzinfo=UTC),
}
FLAGGED = predictions_schema(LABELS)


def scored(image_id: str, label: str, confidence: float, uri: str | None = None, **more: Any) -> dict[str, Any]:
    """Makes a row of predictions."""
    rest = dict.fromkeys(map(probability_column, LABELS), (1 - confidence) / 3)
    row = {"image_id": image_id, "uri": uri or f"/nowhere/{image_id}", "status": "ok", "label": label}
    return row | PROVENANCE | rest | {"confidence": confidence, probability_column(label): confidence} | more


def failed(image_id: str, kind: str = "truncated") -> dict[str, Any]:
    """Makes a row of an image that could not be read."""
    row = {"image_id": image_id, "uri": f"/nowhere/{image_id}", "status": "error", "error_kind": kind}
    return row | PROVENANCE | {"error": "png: cut short"}


def masked(image_id: str, uri: str, mask: np.ndarray, **more: Any) -> dict[str, Any]:
    """Makes a row of masks."""
    height, width = mask.shape
    row = {"image_id": image_id, "uri": uri, "status": "ok", "mask_height": height, "mask_width": width}
    return row | PROVENANCE | {"mask_counts": encode_mask(mask), "area_fraction": float(mask.mean())} | more


@pytest.fixture
def rows_of() -> dict[str, Callable[..., dict[str, Any]]]:
    return {"scored": scored, "failed": failed, "masked": masked}


@pytest.fixture
def write_rows(tmp_path: Path) -> Callable[..., str]:
    """Writes rows as a job does, into two files, and returns the output folder."""

    def write(
        rows: list[dict[str, Any]], table: str = "predictions", schema: pa.Schema = FLAGGED, to: str = "scored"
    ) -> str:
        half = (len(rows) + 1) // 2
        for part, some in enumerate((rows[:half], rows[half:])):
            whole = pa.Table.from_pylist(some, schema=MASKS if table == "masks" else schema)
            write_table(whole, str(tmp_path / to / table / f"{part}.parquet"))
        return str(tmp_path / to)

    return write


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., str]:
    """Draws a PNG of one grey value with a bright square at its centre, and returns its path."""

    def make(name: str, width: int = 60, height: int = 40, grey: int = 100) -> str:
        pixels = np.full((height, width), grey, np.uint8)
        pixels[height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3] = 250
        path = tmp_path / "archive" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
        return str(path)

    return make
