"""A job on a cluster that grows, shrinks and has no room: nodes that an autoscaler starts, that join by hand, and are lost."""

import json
import os
import subprocess
import sys
import tempfile
import time
from typing import ClassVar

import pytest

from cxr_ray.cluster.nodes import NodeRoom
from cxr_ray.cluster.patience import Patience
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.scoring.growing_pool import GrowingPool, requests
from cxr_ray.scoring.pool import fit_pool
from tests.cluster.autoscaled_cluster import autoscaled_cluster
from tests.faults.commands import HIDDEN, REPOSITORY, finish, job_line, rows_at, start

CPU_NODE, GPU_NODE = {"CPU": 2}, {"CPU": 2, "GPU": 1}
GROUPS = {name: {"resources": room | {"object_store_memory": 10**8}, "most": 2} for name, room in
          (("cpu", CPU_NODE), ("gpu", GPU_NODE))}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    """What the runs of `growing_run` found, in a process of their own and on a cluster of their own."""
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        environment = {
            name: value for name, value in os.environ.items() if name not in set(HIDDEN) - {"CXR_RAY_FORKED_WORKERS"}
        }
        environment |= {"RAY_TMPDIR": folder, "OMP_NUM_THREADS": "1", "CXR_RAY_PATIENT_SECRET": "of a test"}
        line = [sys.executable, "-m", "tests.scoring.growing_run", folder]
        done = subprocess.run(
            line, env=environment, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300
        )
    assert done.returncode == 0, done.stderr
    return json.loads(next(text for text in done.stdout.splitlines() if text.startswith("{")))


def test_nodes_are_asked_for_by_actors_with_the_tasks_that_load_for_them():
    on_cpus = fit_pool([NodeRoom(cpus=8.0)] * 3, "cpu", None)
    assert requests(on_cpus, 2) == [{"CPU": 4.0}, *[{"CPU": 1.0}] * 4] * 2
    on_gpus = fit_pool([NodeRoom(cpus=8.0, gpus=2)], "auto", None, num_gpus=0.5)
    assert requests(on_gpus, 1) == [{"CPU": 0.5, "GPU": 0.5}, {"CPU": 1.0}]


@pytest.mark.cluster
@pytest.mark.slow
def test_a_node_that_joins_by_hand_in_the_middle_brings_an_actor_that_gets_its_part_of_the_images(found):
    joined = found["joined"]
    assert (joined["start"], sum(joined["rows"])) == (1, 240)
    assert joined["rows"][0] >= 240 / 4, joined


@pytest.mark.cluster
@pytest.mark.slow
def test_a_round_that_ends_because_its_node_is_gone_is_followed_by_another(found):
    assert found["lost"] == {"rounds": 2, "rows": 240}


class LosesANode(GrowingPool):
    """A growing pool to which, when both actors are ready, the nodes hold one actor less; sizes that it has seen."""

    sizes: ClassVar[list[int]] = []

    def on_execution_step(self, executor):
        (pool,) = [pool for operator in executor._topology or () for pool in operator.get_autoscaling_actor_pools()]
        if self.sizes or pool.num_running_actors() == 2:
            self._fit(pool, 1 if self.sizes else 2)
            self.sizes.append(pool.current_size())


@pytest.mark.cluster
def test_an_actor_for_which_the_nodes_have_no_room_any_more_is_ended_when_it_has_nothing_to_do(ray_cluster):
    """Ray starts the actor of a lost node again, on the CPUs with which another one loads; nothing was loaded then."""
    import ray

    class Score:
        def __call__(self, table):
            return table

    def load(table):
        time.sleep(1)
        return table

    plan = fit_pool([NodeRoom(cpus=1.0)] * 2, "cpu", None)
    patience = Patience(1, wanted="1 CPU", fix="add nodes")
    growing = LosesANode(plan, None, images=1, grow_minutes=0, patience=patience)
    actors = ray.data.ActorPoolStrategy(min_size=2, max_size=2)
    loaded = ray.data.range(8, override_num_blocks=8).map_batches(load, num_cpus=1)
    scored = loaded.map_batches(Score, compute=actors, num_cpus=0.5)
    growing.watch(scored.context)
    assert scored.count() == 8
    assert growing.sizes[:2] == [2, 1]


@pytest.mark.cluster
@pytest.mark.slow
def test_waiting_for_a_gpu_that_another_job_keeps_is_said_and_ends_with_one_line(found):
    assert "waiting for 1 GPU: 3 s" in found["busy"]["said"]
    assert found["busy"]["error"] == (
        "the job waited 0.1 min for 1 GPU, and no node brought it; free one, or wait longer with --max-wait-minutes; "
        "the same command continues"
    )


@pytest.mark.cluster
@pytest.mark.long
@pytest.mark.slow
def test_jobs_start_grow_and_end_on_a_cluster_without_workers(save_random, short_folder, tmp_path):
    save_random(tmp_path / "bundle")
    archive = write_phantom_archive(str(tmp_path / "in"), images_per_class=25, size=64)
    images = archive.images + len(archive.broken)
    with autoscaled_cluster(short_folder, GROUPS) as variables:
        for name, flags in (("cpu", []), ("gpu", ["--num-gpus-per-actor", "1"])):
            output = str(tmp_path / name)
            line = job_line(str(tmp_path / "bundle"), output, archive.uri)
            at = line.index("--num-actors")  # the cluster decides
            line = [*line[:at], *line[at + 2 :], "--device", "cpu", "--grow-minutes", "0", "--progress-seconds", "1"]
            job = start([*line, *flags], **variables)
            assert finish(job) == 0, job.said
            assert rows_at(output).num_rows == images
            assert set(rows_at(output)["device"].to_pylist()) == {"cpu"}
            assert "the cluster has room for" in job.said
            if name == "gpu":
                assert "waiting for 1 GPU: " in job.said
                pool = json.loads((tmp_path / "gpu" / "run.json").read_text())["pool"]
                assert (pool["actors"], pool["most_actors"], pool["gpus_per_actor"]) == (1, 2, 1.0)
