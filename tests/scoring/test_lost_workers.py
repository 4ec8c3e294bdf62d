"""Workers that are lost over the same images again and again end the job, and the error names the images."""

import os
import signal
import sys
import types

import pyarrow as pa
import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayTaskError, WorkerCrashedError

from cxr_ray.archive.tables import read_table, table_writer
from cxr_ray.errors import WorkerError
from cxr_ray.scoring.blocks import PlannedBlocks
from cxr_ray.scoring.lost_workers import (
    ACTOR_OPTIONS,
    MOST_RETRIES,
    TASK_OPTIONS,
    last_words,
    lost_workers_named,
    without_deprecations,
)
from cxr_ray.scoring.output.commit import write_committed
from cxr_ray.scoring.output.state import OutputState
from cxr_ray.scoring.pieces import PiecedLoad
from cxr_ray.scoring.progress import Tally
from cxr_ray.scoring.tallied_stage import TalliedStage


def ended_by(image_id, table):
    """Kill this process if a table holds the image, as a decoder, a driver or the system may do."""
    if image_id in table["image_id"].to_pylist():
        os.kill(os.getpid(), signal.SIGKILL)
    return table.append_column("error_kind", pa.nulls(table.num_rows, pa.string()))


class EndedLoad:
    def __call__(self, table):
        yield ended_by("5", table)


class EndedStage:
    def __init__(self, wanted):
        self._wanted = wanted

    def __call__(self, table):
        if self._wanted is None:
            raise ValueError("the stage fails by itself")
        return ended_by(self._wanted, table).append_column("status", pa.array(["ok"] * table.num_rows))


@pytest.fixture
def blocks(tmp_path):
    uri = str(tmp_path / "blocks.parquet")
    table = pa.table({"image_id": [str(i) for i in range(12)]})
    with table_writer(uri, table.schema) as writer:
        writer.write_table(table, row_group_size=4)
    return PlannedBlocks(uri)


def run(blocks, state, load=None, wanted=""):
    tally = Tally.remote()
    with lost_workers_named(tally), without_deprecations():
        images = ray.data.read_datasource(blocks, override_num_blocks=blocks.count, ray_remote_args=TASK_OPTIONS)
        if load:
            images = images.map_batches(
                PiecedLoad(load, tally, batch_size=4, most=100), batch_size=None, batch_format="pyarrow", **TASK_OPTIONS
            )
        else:
            arguments = {"stage": EndedStage, "tally": tally, "batch_size": 4, "arguments": {"wanted": wanted}}
            images = images.map_batches(
                TalliedStage,
                fn_constructor_kwargs=arguments,
                batch_size=4,
                batch_format="pyarrow",
                compute=ray.data.ActorPoolStrategy(size=1),
                **ACTOR_OPTIONS,
            )
        write_committed(state, images, tally)


@pytest.mark.slow
@pytest.mark.cluster
def test_a_block_whose_loading_ends_its_worker_again_and_again_is_named(ray_cluster, blocks, tmp_path):
    state = OutputState(str(tmp_path / "out"), "predictions")
    wanted = rf"^a worker ended without a word: .*; in progress: loading '4' to '7' \(4 images, begun {MOST_RETRIES + 1} times\)"
    with pytest.raises(WorkerError, match=wanted) as failure:
        run(blocks, state, load=EndedLoad())
    assert "\n" not in str(failure.value)
    assert "pid=" not in str(failure.value)


@pytest.mark.slow
@pytest.mark.cluster
def test_an_actor_that_ends_is_named_and_the_next_job_of_the_process_finds_its_cpus_free(ray_cluster, blocks, tmp_path):
    state = OutputState(str(tmp_path / "out"), "predictions")
    with pytest.raises(
        WorkerError, match=r"^a worker ended without a word: .*; in progress: .*scoring '8' to '11' \(4 images, begun "
    ):
        run(blocks, state, wanted="9")
    with pytest.raises(WorkerError, match=r"^ValueError: the stage fails by itself; in progress: scoring"):
        run(blocks, state, wanted=None)
    done = OutputState(str(tmp_path / "done"), "predictions")
    run(blocks, done)
    assert sorted(read_table(done.rows_uri)["image_id"].to_pylist(), key=int) == [str(i) for i in range(12)]


def test_the_last_words_of_a_worker_are_one_line_without_its_process():
    error = RayTaskError(
        "load",
        "ray::load() (pid=77, ip=10.0.0.1)\n  File x\nOSError: the disk is full\n\nTo change retries, ...\n",
        OSError(),
    )
    assert last_words(error) == "OSError: the disk is full"
    unreadable = "ray::read() (pid=7)\n  File x\npyarrow.lib.ArrowInvalid: no magic bytes\nFailed to read after 1/10 attempts\nTo .."
    assert last_words(RayTaskError("read", unreadable, OSError())) == "pyarrow.lib.ArrowInvalid: no magic bytes"
    assert last_words(WorkerCrashedError()).startswith("a worker ended without a word")
    assert last_words(OutOfMemoryError("Task was killed due to the node\nrunning low")).startswith("Ray ended a worker")


@ray.remote
class Starts:
    """Counts the starts of a stage."""

    def __init__(self):
        self._begun = 0

    def begin(self):
        self._begun += 1
        return self._begun


class FailedStart:
    """A stage that fails when it first starts, as it does when storage or an actor of Ray does not answer."""

    def __init__(self, starts, failed):
        if ray.get(starts.begin.remote()) <= failed:
            raise OSError("the weights cannot be read")

    def __call__(self, table):
        return table


@pytest.mark.slow
@pytest.mark.cluster
def test_an_actor_that_fails_while_it_starts_is_replaced(ray_cluster, blocks, tmp_path):
    state = OutputState(str(tmp_path / "out"), "predictions")
    with without_deprecations():
        images = ray.data.read_datasource(blocks, override_num_blocks=blocks.count, ray_remote_args=TASK_OPTIONS)
        rows = images.map_batches(
            FailedStart,
            fn_constructor_kwargs={"starts": Starts.remote(), "failed": 2},
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=1),
            **ACTOR_OPTIONS,
        )
    tally = Tally.remote()
    with lost_workers_named(tally):
        write_committed(state, rows, tally)
    assert read_table(state.rows_uri).num_rows == 12


@pytest.mark.slow
@pytest.mark.cluster
def test_a_tally_that_fails_itself_is_one_line(ray_cluster):
    class Failing:
        def __init__(self):
            raise ModuleNotFoundError("No module named 'cxr_ray'")

        def begin(self, span):
            """Never run."""

        def in_progress(self):
            """Never run."""

    tally = ray.remote(num_cpus=0)(Failing).remote()
    said = (
        r"^ModuleNotFoundError: No module named 'cxr_ray'; in progress: nothing; .*another version of cxr_ray or none"
    )
    with pytest.raises(WorkerError, match=said), lost_workers_named(tally):
        ray.get(tally.begin.remote(("loading", "a", "b", 1)))


@pytest.mark.slow
@pytest.mark.cluster
def test_workers_with_other_code_than_the_driver_are_named_with_the_fix(ray_cluster, monkeypatch):
    here_alone = types.ModuleType("of_the_driver")
    exec("class Later:\n    def begin(self):\n        pass", vars(here_alone))
    monkeypatch.setitem(sys.modules, "of_the_driver", here_alone)
    actor = ray.remote(num_cpus=0)(here_alone.Later).remote()
    with (
        pytest.raises(WorkerError, match=r"failed to import on the worker.*install this one on each"),
        lost_workers_named(Tally.remote()),
    ):
        ray.get(actor.begin.remote())
