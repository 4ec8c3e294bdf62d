"""A short walk over a cluster of machines; `python -m tests.cluster.whole_cluster` is the long one."""

import pytest

from tests.cluster.namespaces import why_no_machines
from tests.cluster.token_cluster import token_cluster
from tests.cluster.whole_cluster import INDEX, SCORING, blocks_of_nodes, fill_store, reconcile

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.s3,
    pytest.mark.long,
    pytest.mark.slow,
    pytest.mark.skipif(bool(why_no_machines()), reason=why_no_machines() or "machines can be made"),
]


def test_a_node_that_joins_takes_over_from_one_that_is_lost():
    """The machines have no code of the product and no file in common; jobs come from a machine outside the cluster."""
    with token_cluster(["node1"], ["node2"]) as cluster:
        fill_store(cluster, images_per_class=100)
        assert "No module named 'cxr_ray'" in cluster.head.run(["python", "-c", "import cxr_ray"]).stdout
        index = cluster.submit("ray job submit", "index_archive", INDEX.format(way="short").split())
        assert index.finish() == 0, index.said
        flags = "--input-uri s3://results/short/manifest.parquet --model-uri s3://results/bundle"
        output = "s3://results/short/classified"
        job = cluster.submit("submit.py", "classify_archive", f"{flags} --output-uri {output} {SCORING}".split())
        job.wait_for_images(8)
        cluster.lose_node("node1")
        cluster.add_node("node2")
        assert job.finish() == 0, job.said
        code, said = reconcile(cluster, "short", "classified")
        assert (code, "405 rows" in said) == (0, True), said
        blocks = blocks_of_nodes(cluster)
        assert blocks["loaded"]["node2"] > 0, blocks
        assert blocks["scored"]["node2"] > 0, blocks
