"""A loop over torch's DataLoader, whose workers decode while this process computes."""

import io
import os
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from cxr_ray.archive.uris import read_bytes
from cxr_ray.benchmarks.peers.peer import PeerModel, PeerTask


class _Radiographs(Dataset[torch.Tensor]):
    def __init__(self, uris: tuple[str, ...], size: int) -> None:
        self.uris, self.size = uris, size

    def __len__(self) -> int:
        return len(self.uris)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(io.BytesIO(read_bytes(self.uris[index]))).convert("RGB")
        return torch.from_numpy(np.array(image.resize((self.size, self.size), Image.Resampling.BILINEAR)))


def scored_at(task: PeerTask) -> list[float]:
    """Score the files; the time in seconds since 1970 at which the batch of each was done."""
    model = PeerModel(task)
    loader = DataLoader(
        _Radiographs(task.uris, task.card.image_size),
        batch_size=task.batch_size,
        num_workers=os.cpu_count() or 1,
        pin_memory=task.device == "cuda",
    )
    times: list[float] = []
    for batch in loader:
        model(batch)
        times += [time.time()] * len(batch)
    return times
