"""A node of a cluster that is lost in the middle of a job costs no row, and the job ends well."""

import pytest
from ray.cluster_utils import Cluster

from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from tests.faults.commands import finish, job_line, reconcile_line, rows_at, start, wait_for_blocks

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def cluster(short_folder, monkeypatch):
    """A head without CPUs, and two nodes that one actor and what loads for it fill, as processes of this machine."""
    monkeypatch.setenv(
        "RAY_TMPDIR", str(short_folder)
    )  # Ray writes its address here; no other job may join the cluster
    small = {"object_store_memory": 200 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    cluster.wait_for_nodes()
    yield cluster
    cluster.shutdown()


def test_a_node_that_is_lost_costs_no_row(cluster, save_random, tmp_path):
    save_random(tmp_path / "bundle")
    archive = write_phantom_archive(str(tmp_path / "in"), images_per_class=30, size=64)
    output = str(tmp_path / "out")
    line = job_line(str(tmp_path / "bundle"), output, archive.uri)
    line[line.index("--num-actors") + 1] = "2"  # the actor of the lost node must not take what the other one loads with
    job = start(line, RAY_ADDRESS=cluster.address)
    wait_for_blocks(job, output, 2)
    cluster.remove_node(min(cluster.worker_nodes, key=lambda node: node.unique_id), allow_graceful=False)
    assert finish(job) == 0, job.said
    assert finish(start(reconcile_line(output))) == 0
    assert rows_at(output).num_rows == archive.images + len(archive.broken)
