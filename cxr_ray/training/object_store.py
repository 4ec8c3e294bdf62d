"""Arrays in the object store of Ray, from which all training workers of a node read one copy."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import ray

from cxr_ray.errors import DatasetError

USABLE_FRACTION = 0.5  # of a node's object store; the rest is for what else runs on the node

Note = TypeVar("Note")


def memory_excess(images: int, image_size: int, *, what: str = "images", planes: int = 1) -> str | None:
    """Say how far the images of a training exceed the memory of the cluster; None if every node can hold all of them.

    Args:
        images: number of images in all splits.
        image_size: pixels a side.
        what: name of the images for the sentence.
        planes: planes of an image, uint8 each; 2 for an image and its mask.
    """
    stores = [node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["Alive"]]
    size_bytes = images * planes * image_size**2
    if fits_every_store(size_bytes, stores):
        return None
    gibibytes = size_bytes / 2**30
    return f"{images:,} {what} of {image_size} px take {gibibytes:.1f} GiB, more than half of a node's object store"


def fits_every_store(size_bytes: int, stores: Sequence[float]) -> bool:
    """Whether even the smallest of the object stores, whose sizes are in bytes, has room beside other work."""
    return size_bytes <= USABLE_FRACTION * min(stores)


def load_in_parts(
    load: Callable[..., tuple[np.ndarray, Note]], parts: Sequence[tuple[Any, ...]]
) -> tuple[list[ray.ObjectRef], list[Note]]:
    """Load the parts of a dataset on all cores of the cluster.

    Args:
        load: called with the arguments of one part, in a task of its own; returns an array, and a note about it.
        parts: arguments of `load` for each part.

    Returns:
        References to the arrays, and the notes, in the order of `parts`.

    Raises:
        DatasetError: the first that `load` raised, in the order of `parts`.
    """
    loading = [_load_part.remote(load, *part) for part in parts]
    arrays, notes = [], list[Note]()
    while loading:  # each task's own array is released as soon as it is copied, or all would be in memory twice
        array, outcome = loading.pop(0)
        note, problem = ray.get(outcome)
        if problem:
            raise DatasetError(problem)
        notes.append(note)
        arrays.append(kept_here(array))
    return arrays, notes


@ray.remote(num_cpus=1, num_returns=2, scheduling_strategy="SPREAD")  # also outside the reservation of a trial of Tune
def _load_part(
    load: Callable[..., tuple[np.ndarray, Any]], *arguments: Any
) -> tuple[np.ndarray | None, tuple[Any, str | None]]:
    """The array; its note, and the message of a `DatasetError`, which Ray would bury in a traceback."""
    try:
        array, note = load(*arguments)
    except DatasetError as error:
        return None, (None, str(error))
    return array, (note, None)


def kept_here(made: ray.ObjectRef) -> ray.ObjectRef:
    """Copy the result of a task into the object store of this process's node.

    A node that is lost takes along what tasks made on it. Ray would run the task again, which would wait forever for
    the CPUs that training workers hold, while the workers wait for the task.
    """
    return ray.put(ray.get(made))
