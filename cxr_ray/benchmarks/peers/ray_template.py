"""Ray's own template of batch inference: `read_images`, a class for `map_batches`, and nothing else."""

import os
import time

import numpy as np
import ray

from cxr_ray.benchmarks.peers.peer import PeerModel, PeerTask


class _Scorer:
    def __init__(self, task: PeerTask) -> None:
        import torch

        torch.set_num_threads(os.cpu_count() or 1)  # Ray gives an actor of one CPU one thread
        self._model = PeerModel(task)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        self._model(np.array(batch["image"]))
        return {"done_at": np.full(len(batch["image"]), time.time())}


def scored_at(task: PeerTask) -> list[float]:
    """Score the files; the time in seconds since 1970 at which the batch of each was done."""
    ray.init("local", include_dashboard=False, log_to_driver=False)
    size = task.card.image_size
    images = ray.data.read_images(list(task.uris), size=(size, size), mode="RGB")
    gpus = 1 if task.device == "cuda" else 0
    scored = images.map_batches(
        _Scorer, fn_constructor_args=(task,), batch_size=task.batch_size, concurrency=1, num_gpus=gpus
    )
    return [row["done_at"] for row in scored.take_all()]
