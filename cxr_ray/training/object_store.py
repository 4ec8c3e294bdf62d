"""Arrays in Ray's object store, of which all training workers of a node read the same copy."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import ray

from cxr_ray.errors import DatasetError

USABLE_FRACTION = 0.5
"""Fraction of a node's object store that a training may fill; other work on the node uses the rest."""

Note = TypeVar("Note")


def memory_excess(images: int, image_size: int, *, what: str = "images", planes: int = 1) -> str | None:
    """Describe by how much the images of a training exceed the cluster's memory; None if every node can hold them all.

    Args:
        images: number of images in all splits.
        image_size: height and width of an image in pixels.
        what: noun for the images in the returned text.
        planes: number of uint8 planes per image; 2 for an image and its mask.
    """
    stores = stores_in_use(ray.nodes(), ray.get_runtime_context().get_node_id())
    size_bytes = images * planes * image_size**2
    if fits_every_store(size_bytes, stores):
        return None
    gibibytes = size_bytes / 2**30
    return f"{images:,} {what} of {image_size} px take {gibibytes:.1f} GiB, more than half of a node's object store"


def stores_in_use(nodes: Sequence[dict[str, Any]], own_node: str) -> list[float]:
    """List the sizes in bytes of the object stores that will hold the images of a training.

    These are the stores of the nodes that can hold workers, and that of the node of this process, which loads the images.
    A head node without CPUs is none of them unless this process runs there.

    Args:
        nodes: nodes as `ray.nodes` lists them.
        own_node: id of the node of this process.
    """
    return [
        node["Resources"].get("object_store_memory", 0)
        for node in nodes
        if node["Alive"] and (node["Resources"].get("CPU", 0) >= 1 or node["NodeID"] == own_node)
    ]


def fits_every_store(size_bytes: int, stores: Sequence[float]) -> bool:
    """Whether `size_bytes` fit the usable fraction of every object store; `stores` holds the store sizes in bytes."""
    return all(size_bytes <= USABLE_FRACTION * store for store in stores)


def load_in_parts(
    load: Callable[..., tuple[np.ndarray, Note]], parts: Sequence[tuple[Any, ...]]
) -> tuple[list[ray.ObjectRef], list[Note]]:
    """Load the parts of a dataset on all cores of the cluster.

    Args:
        load: function that a Ray task calls with the arguments of one part; it returns an array and a note, which is any
            value about the array.
        parts: arguments of `load` for each part.

    Returns:
        References to the arrays, and the notes, in the order of `parts`.

    Raises:
        DatasetError: if `load` raised one; of several, that of the first part.
    """
    loading = [_load_part.remote(load, *part) for part in parts]
    arrays, notes = [], list[Note]()
    while loading:  # each task's array is released after it is copied, so that not all arrays are in memory twice
        array, outcome = loading.pop(0)
        note, problem = ray.get(outcome)
        if problem:
            raise DatasetError(problem)
        notes.append(note)
        arrays.append(copied_to_own_node(array))
    return arrays, notes


# SPREAD lets a task also use CPUs outside the placement group that Ray Tune reserves for a trial.
@ray.remote(num_cpus=1, num_returns=2, scheduling_strategy="SPREAD")
def _load_part(
    load: Callable[..., tuple[np.ndarray, Any]], *arguments: Any
) -> tuple[np.ndarray | None, tuple[Any, str | None]]:
    """Return the array, then its note and the message of a `DatasetError`, which Ray would hide in a traceback."""
    try:
        array, note = load(*arguments)
    except DatasetError as error:
        return None, (None, str(error))
    return array, (note, None)


def copied_to_own_node(result: ray.ObjectRef) -> ray.ObjectRef:
    """Copy the result of a task into the object store of this process's node.

    When a node is lost, the results of the tasks that ran on it are lost, too. Ray would run such a task again, but the
    task would wait forever for the CPUs that training workers hold, while the workers wait for the result.
    """
    return ray.put(ray.get(result))
