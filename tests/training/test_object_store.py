import numpy as np
import pytest
import ray
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.errors import DatasetError
from cxr_ray.training.object_store import fits_every_store, load_in_parts, memory_excess, stores_in_use


@pytest.mark.parametrize("stores", [[1000, 10_000], [10_000, 1000], [5000, 1000, 9000]])
def test_images_must_fit_half_of_the_smallest_store(stores):
    """Every node may get workers, and each node with workers needs all images."""
    assert fits_every_store(500, stores)
    assert not fits_every_store(501, stores)


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=6), st.integers(0, 10**12))
def test_a_further_node_never_makes_room(stores, size_bytes):
    if fits_every_store(size_bytes, [*stores, 10**12]):
        assert fits_every_store(size_bytes, stores)
    assert fits_every_store(size_bytes, stores) == all(size_bytes <= store / 2 for store in stores)


def test_only_the_stores_count_that_will_hold_images():
    def node(name, size, *, cpus=8.0, alive=True):
        return {"NodeID": name, "Alive": alive, "Resources": {"object_store_memory": size, "CPU": cpus}}

    head = node("head", 1, cpus=0.0)
    nodes = [head, node("a", 20), node("b", 30), node("lost", 2, alive=False)]
    assert stores_in_use(nodes, "a") == [20, 30]
    assert stores_in_use(nodes, "head") == [1, 20, 30]
    assert fits_every_store(10, stores_in_use([head], "elsewhere")), "the number of CPUs refuses such a cluster"


@pytest.mark.cluster
def test_the_error_about_too_many_images_gives_their_size_in_gibibytes(ray_cluster):
    assert memory_excess(10, 64) is None
    assert memory_excess(2**21, 1024, what="images and masks", planes=2) == (
        "2,097,152 images and masks of 1024 px take 4096.0 GiB, more than half of a node's object store"
    )


def doubled(number):
    if number < 0:
        raise DatasetError(f"no such number: {number}")
    return np.full(3, 2 * number), f"note {number}"


@pytest.mark.cluster
def test_parts_are_loaded_in_order_and_the_first_that_fails_is_named(ray_cluster):
    arrays, notes = load_in_parts(doubled, [(3,), (1,), (2,)])
    assert [array.tolist() for array in ray.get(arrays)] == [[6, 6, 6], [2, 2, 2], [4, 4, 4]]
    assert notes == ["note 3", "note 1", "note 2"]
    assert load_in_parts(doubled, []) == ([], [])
    with pytest.raises(DatasetError, match=r"^no such number: -5$"):
        load_in_parts(doubled, [(1,), (-5,), (-6,)])
