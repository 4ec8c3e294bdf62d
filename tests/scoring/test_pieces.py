"""Loaded images go to the actors in pieces, and rows are committed piece by piece."""

import os
import signal
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.archive.tables import read_table, table_writer
from cxr_ray.scoring.blocks import PlannedBlocks
from cxr_ray.scoring.lost_workers import ACTOR_OPTIONS, TASK_OPTIONS, without_deprecations
from cxr_ray.scoring.output.commit import write_committed
from cxr_ray.scoring.output.state import OutputState, committed_files
from cxr_ray.scoring.pieces import PiecedLoad, in_pieces, keep_pieces, most_rows
from cxr_ray.scoring.progress import Tally
from cxr_ray.scoring.stages.load import Geometry
from cxr_ray.scoring.tallied_stage import TalliedStage


@given(st.lists(st.integers(0, 40), max_size=12), st.integers(1, 50))
def test_pieces_hold_the_same_rows_in_the_same_order(sizes, rows):
    numbers = pa.table({"x": range(sum(sizes))})
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    found = list(in_pieces([numbers.slice(s, n) for s, n in zip(starts, sizes, strict=True)], rows))
    assert [n for piece in found for n in piece["x"].to_pylist()] == list(range(sum(sizes)))
    assert all(piece.num_rows == rows for piece in found[:-1])
    assert all(0 < piece.num_rows <= rows for piece in found)


def test_a_piece_is_no_larger_than_a_block_of_ray_whatever_its_images_are():
    small, large = (Geometry(image_size=size, interpolation="bilinear") for size in (224, 1024))
    assert most_rows([small]) * 224**2 <= 2**27 < (most_rows([small]) + 1) * 224**2
    assert most_rows([small, large]) == 122
    assert most_rows([Geometry(image_size=20_000, interpolation="bilinear")]) == 1


class Loaded:
    def __call__(self, table):
        table = table.append_column("status", pa.array(["ok"] * table.num_rows))
        yield table.append_column("error_kind", pa.nulls(table.num_rows, pa.string()))


class SlowStage:
    """A stage of half a second a batch; it ends its process once, in the middle of a block."""

    def __init__(self, note):
        self._note = note

    def __call__(self, table):
        time.sleep(0.5)
        if "7" in table["image_id"].to_pylist() and not self._note.exists():
            self._note.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return table


@pytest.mark.slow
@pytest.mark.cluster
def test_a_slow_stage_commits_each_batch_and_a_lost_actor_loses_and_doubles_nothing(ray_cluster, tmp_path):
    plan, state = str(tmp_path / "blocks.parquet"), OutputState(str(tmp_path / "out"), "masks")
    ids = pa.table({"image_id": [str(i) for i in range(12)]})
    with table_writer(plan, ids.schema) as writer:
        writer.write_table(ids)
    blocks, tally = PlannedBlocks(plan), Tally.remote()
    tally.add.remote(1, 0, 60.0)
    keep_pieces()
    keep_pieces()
    with without_deprecations():
        images = ray.data.read_datasource(blocks, override_num_blocks=1, ray_remote_args=TASK_OPTIONS)
        load = PiecedLoad(Loaded(), tally, batch_size=2, most=100)
        rows = images.map_batches(load, batch_size=None, batch_format="pyarrow", **TASK_OPTIONS).map_batches(
            TalliedStage,
            fn_constructor_kwargs={
                "stage": SlowStage,
                "tally": tally,
                "batch_size": 2,
                "arguments": {"note": tmp_path / "died"},
            },
            batch_size=2,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=1),
            **ACTOR_OPTIONS,
        )
    write_committed(state, rows, tally)
    assert (tmp_path / "died").exists()
    assert sorted(map(int, read_table(state.rows_uri)["image_id"].to_pylist())) == list(range(12))
    files = [tmp_path / "out" / "masks" / name for name in committed_files(state)]
    assert [pq.read_metadata(file).num_rows for file in files] == [2] * 6
