"""Tests of the stage that makes masks of maps, without Ray and without a network."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.config.segmentation import MaskFiles, SegmenterSettings
from cxr_ray.imaging.mask_rle import decode_mask
from cxr_ray.imaging.resize import resize_to
from cxr_ray.schema import MAP_COLUMN, MASKS
from cxr_ray.scoring.stage_metrics import UNFINISHED, statuses_of
from cxr_ray.scoring.stages.masks_of_maps import ENTROPY_COLUMN, MAPS, MaskStage
from cxr_ray.scoring.stages.segment_outputs import OVERLAY_IMAGE, SegmentOutputs

SHADES = np.random.default_rng(5).integers(0, 256, (4, 16, 16)).astype(np.uint8)
SHADES[1] = 20


def row(place, **values):
    columns = {
        "image_id": f"{place}.png", "uri": "u", "status": "ok", "format": "png", "height": 90, "width": 70,
        "model_id": "m", "preprocessing_id": "p", "run_id": "r", "scored_at": 0, "device": "cpu", "precision": "fp32",
    }  # fmt: skip
    return columns | values


@pytest.fixture
def maps():
    rows = [row(i, **{MAP_COLUMN: shades.tobytes()}) for i, shades in enumerate(SHADES)]
    rows.insert(2, row("bad", status="error", error_kind="truncated", error="e", height=None, width=None))
    return pa.Table.from_pylist(rows, schema=MAPS)


def stage(folder="o", foreground=0.5, **files):
    outputs = SegmentOutputs(str(folder), MaskFiles(**files))
    return MaskStage(settings=SegmenterSettings(foreground=foreground), outputs=outputs)


@pytest.mark.parametrize("foreground", [0.3, 0.5])
def test_every_map_becomes_the_mask_of_its_enlarged_pixels(maps, foreground):
    table = stage(foreground=foreground)(maps)
    assert table.schema == MASKS
    rows = table.to_pylist()
    assert [row["status"] for row in rows] == ["ok", "empty", "error", "ok", "ok"]
    assert (rows[2]["mask_counts"], rows[2]["error"]) == (None, "e")
    for shades, found in zip(SHADES, rows[:2] + rows[3:], strict=True):
        expected = resize_to(shades, 90, 70) > 255 * foreground
        np.testing.assert_array_equal(decode_mask(found["mask_counts"], 90, 70), expected)
        assert found["area_fraction"] == pytest.approx(expected.mean(), abs=1e-6)


def test_files_are_written_from_what_a_row_holds(maps, tmp_path):
    entropy = np.full((16, 16), np.log(2), np.float32).tobytes()
    images = [None if row["status"] == "error" else bytes(90 * 70) for row in maps.to_pylist()]
    maps = maps.set_column(maps.column_names.index(ENTROPY_COLUMN), ENTROPY_COLUMN, pa.array([entropy] * 5))
    maps = maps.append_column(OVERLAY_IMAGE.column, pa.array(images, pa.binary()))
    stage(tmp_path, save_overlays=True, save_uncertainty=True)(maps)
    assert sorted(path.name for path in tmp_path.glob("overlays/*")) == [f"{i}.png.png" for i in range(4)]
    assert Image.open(tmp_path / "overlays" / "3.png.png").size == (70, 90)
    assert np.asarray(Image.open(tmp_path / "uncertainty" / "0.png.png")).min() == 65535


def test_rows_with_a_map_are_not_counted_before_they_are_finished(maps):
    assert statuses_of(maps) == {(UNFINISHED, ""): 4, ("error", "truncated"): 1}
    assert statuses_of(stage()(maps)) == {("ok", ""): 3, ("empty", ""): 1, ("error", "truncated"): 1}


def test_tasks_on_cpus_need_no_torch():
    code = "import sys, cxr_ray.scoring.stages.masks_of_maps; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
