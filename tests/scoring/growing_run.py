"""Runs on a cluster of several nodes in a process of their own: `python -m tests.scoring.growing_run FOLDER`.

A node joins by hand in the middle of a run, a node is lost with an actor whose answer a run waits for, and a run waits
for a GPU that another job keeps. What happened is printed as one line of JSON.
"""

import json
import logging
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pyarrow as pa
import ray
from ray.cluster_utils import Cluster

from cxr_ray.archive.run_record import RunRecord
from cxr_ray.archive.tables import read_table, table_writer
from cxr_ray.cluster.nodes import NodeRoom
from cxr_ray.cluster.patience import Patience
from cxr_ray.config import ClassifyConfig
from cxr_ray.scoring.archive_job import Run, TalliedStage, _score_in_rounds
from cxr_ray.scoring.blocks import PlannedBlocks
from cxr_ray.scoring.growing_pool import GrowingPool
from cxr_ray.scoring.lost_workers import ACTOR_OPTIONS, TASK_OPTIONS, without_deprecations
from cxr_ray.scoring.output.commit import write_committed
from cxr_ray.scoring.output.state import OutputState, committed_files
from cxr_ray.scoring.pool import fit_pool, plan_pool
from cxr_ray.scoring.progress import Tally

IMAGES, BLOCK = 240, 4
SMALL = {"object_store_memory": 100 * 2**20}


class NamedStage:
    """A stage that names its actor; from its second block on it waits until `actors` actors have begun.

    Args:
        folder: folder in which each stage leaves a file with the name of its actor.
        actors: number of actors.
    """

    def __init__(self, folder, actors):
        self.folder, self.actors, self.calls = Path(folder), actors, 0
        self.name = ray.get_runtime_context().get_actor_id()
        self.folder.mkdir(exist_ok=True)
        (self.folder / self.name).touch()

    def __call__(self, table):
        self.calls += 1
        deadline = time.monotonic() + 120
        while self.calls > 1 and len(list(self.folder.iterdir())) < self.actors and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.1)
        table = table.append_column("error_kind", pa.nulls(table.num_rows, pa.string()))
        table = table.append_column("status", pa.array(["ok"] * table.num_rows))
        return table.append_column("actor", pa.array([self.name] * table.num_rows))


def planned(folder):
    Path(folder).mkdir()
    uri = f"{folder}/blocks.parquet"
    table = pa.table({"image_id": [str(i) for i in range(IMAGES)]})
    with table_writer(uri, table.schema) as writer:
        writer.write_table(table, row_group_size=BLOCK)
    return PlannedBlocks(uri)


def rows_of(blocks, state, pool, tally, actors=1):
    with without_deprecations():
        images = ray.data.read_datasource(
            blocks, override_num_blocks=blocks.count, num_cpus=pool.cpus_per_load_task, ray_remote_args=TASK_OPTIONS
        )
        return images.map_batches(
            TalliedStage,
            fn_constructor_kwargs={
                "stage": NamedStage,
                "tally": tally,
                "batch_size": BLOCK,
                "arguments": {"folder": f"{state.uri}.actors", "actors": actors},
            },
            batch_size=BLOCK,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(
                min_size=pool.actors, max_size=pool.most_actors, max_tasks_in_flight_per_actor=4
            ),
            num_cpus=pool.cpus_per_actor,
            num_gpus=pool.gpus_per_actor,
            **ACTOR_OPTIONS,
        )


def started(blocks, state, pool, patience, actors=1):
    """Run in a thread; the main thread adds nodes, which Ray does nowhere else."""
    tally = Tally.remote()
    growing = GrowingPool(pool, tally, images=IMAGES, grow_minutes=10, patience=patience)
    return ThreadPoolExecutor(1).submit(
        lambda: write_committed(state, rows_of(blocks, state, pool, tally, actors), tally, growing)
    )


def joined(cluster, folder):
    """Number of actors at the start, and the rows of each actor of a run during which a second node comes."""
    state = OutputState(f"{folder}/out", "predictions")
    pool = plan_pool("auto", None).for_job(IMAGES, BLOCK)
    job = started(planned(folder), state, pool, Patience(1, wanted="", fix=""), actors=2)
    while not committed_files(state):
        if job.done():
            raise RuntimeError("the run is over and has no rows") from job.exception()
        time.sleep(0.1)
    cluster.add_node(num_cpus=2, **SMALL)
    job.result()
    rows = Counter(read_table(state.rows_uri)["actor"].to_pylist())
    return {"start": pool.actors, "rows": sorted(rows.values())}


def busy(cluster, folder):
    """What a run says that waits for a GPU which another job keeps, and how it ends."""
    cluster.add_node(num_cpus=2, num_gpus=1, **SMALL)
    keeper = ray.remote(num_gpus=1)(Answering).remote()
    ray.get(keeper.node.remote())
    pool, patience = plan_pool("cpu", None, 1.0).for_job(IMAGES, BLOCK), Patience(0.1, wanted="1 GPU", fix="free one")
    job, said = started(planned(folder), OutputState(f"{folder}/out", "predictions"), pool, patience), set()
    while not job.done():
        said.add(patience.said())
        time.sleep(0.5)
    return {"said": sorted(said), "error": str(job.exception())}


class Answering:
    """An actor whose answer does not come."""

    def node(self):
        return ray.get_runtime_context().get_node_id()

    def answer(self):
        time.sleep(600)


def lost(cluster, folder):
    """Rows of a job whose first round ends because a node is gone, and the numbers of its rounds."""
    state, blocks, rounds = OutputState(f"{folder}/out", "predictions"), planned(folder), []
    answering = ray.remote(num_cpus=2)(Answering).remote()
    node_id = ray.get(answering.node.remote())
    node = next(node for node in cluster.worker_nodes if node.node_id == node_id)

    def pipeline(run):
        rounds.append(run.pool.actors)
        if len(rounds) == 1:
            answer = answering.answer.remote()
            cluster.remove_node(node, allow_graceful=False)
            ray.get(answer)
        return rows_of(blocks, state, run.pool, run.tally)

    def plan():
        done = BLOCK * len(committed_files(state))
        return IMAGES - done, done

    config = ClassifyConfig(input_uri="in", output_uri=folder, model_uri=("m",), rows_per_block=BLOCK)
    pool = fit_pool([NodeRoom(cpus=2.0)], "cpu", 1)
    again = plan, partial(plan_pool, "cpu", None)
    run_with = partial(Run, run_id="run", blocks_uri=f"{folder}/blocks.parquet")
    record = RunRecord(state.uri, config, is_owner=lambda: True, run_id="run")
    _score_in_rounds(state, config, pipeline, run_with, record, pool=pool, again=again, missing=IMAGES, done=0)
    return {"rounds": len(rounds), "rows": len(set(read_table(state.rows_uri)["image_id"].to_pylist()))}


def main():
    folder = sys.argv[1]
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, **SMALL})
    cluster.add_node(num_cpus=2, **SMALL)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    logging.basicConfig(level=logging.INFO)
    found = {run.__name__: run(cluster, f"{folder}/{run.__name__}") for run in (joined, lost, busy)}
    ray.shutdown()
    cluster.shutdown()
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
