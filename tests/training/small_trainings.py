"""A dataset on which a classifier learns in seconds, and how far its training has come."""

import json
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from cxr_ray.archive.tables import write_table
from cxr_ray.schema import DATASET
from cxr_ray.training.training_state import Progress, read_state


def write_squares(folder: Path) -> str:
    """Write 96 noisy squares, dark ones with the label `Normal` and bright ones with `COVID`; return the dataset's path."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(96):
        label, level = (("Normal", 60), ("COVID", 180))[i % 2]
        path = folder / f"{i}.png"
        Image.fromarray(rng.normal(level, 20, (32, 32)).clip(0, 255).astype(np.uint8)).save(path)
        split = "train" if i < 64 else "val" if i < 80 else "test"
        row = dict.fromkeys(DATASET.names) | {"image_id": path.name, "uri": str(path), "label": label, "split": split}
        rows.append(row | {"content_sha256": f"{i:064}", "duplicate_group": str(i)})
    write_table(pa.Table.from_pylist(rows, schema=DATASET), str(folder / "dataset.parquet"))
    return str(folder / "dataset.parquet")


def saved_progress(output: str | Path) -> Progress:
    """Return the progress of a training that runs, as Ray Train has recorded it; epoch 0 before the first checkpoint."""
    state = Path(output) / "_state" / "train"
    with suppress(OSError, ValueError, TypeError):  # the record does not exist yet, or is only half written
        noted = json.loads((state / "checkpoint_manager_snapshot.json").read_text())["latest_checkpoint_result"]
        return read_state(state / noted["checkpoint_dir_name"])[0]
    return Progress()
