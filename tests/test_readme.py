"""The README's Python runs as it stands, where the files are that it names, and without Ray."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.archive.tables import write_table
from cxr_ray.phantoms.phantom import draw_phantom
from cxr_ray.schema import LABELS, predictions_schema

README = Path(__file__).parents[1] / "README.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(save_random, save_segmenter, tmp_path):
    """A folder with the picture and the models that the README names."""
    Image.fromarray(draw_phantom("Normal", seed=2, size=96).pixels).save(tmp_path / "radiograph.png")
    save_random(tmp_path / "runs/model")
    save_segmenter(tmp_path / "runs/segmenter")
    made = {"model_id": "m", "preprocessing_id": "p", "run_id": "r", "scored_at": datetime(2026, 1, 1, tzinfo=UTC)}
    made |= {"device": "cpu", "engine": "torch", "precision": "fp32"}
    rows = [
        {"image_id": "a.png", "uri": "a.png", **made, "status": "ok", "label": "Normal", "confidence": 0.9},
        {
            "image_id": "b.png",
            "uri": "b.png",
            **made,
            "status": "error",
            "error_kind": "truncated",
            "error": "png is cut",
        },
    ]
    table = pa.Table.from_pylist(rows, schema=predictions_schema(LABELS))
    write_table(table, str(tmp_path / "runs/scored/predictions/0.parquet"))
    return tmp_path


def test_there_is_python_to_run():
    assert any("load_image" in block for block in BLOCKS)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_python_of_the_readme_runs_without_ray(folder, block):
    told = "\nimport sys\nassert 'ray' not in sys.modules, 'Ray was imported'\n"
    command = [sys.executable, "-c", block + told]
    path = {"PYTHONPATH": str(README.parent)}
    ended = subprocess.run(
        command, cwd=folder, env=os.environ | path, capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr
    if "load_image" in block:
        assert "(96, 96)" in ended.stdout, "the mask has the size of the image"
    else:
        assert "png is cut" in ended.stdout
