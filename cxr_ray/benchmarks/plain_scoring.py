"""Baseline of scoring: a plain PyTorch loop, with a DataLoader that decodes and a model in fp32."""

import io
import os
import time

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from cxr_ray.archive.uris import read_bytes
from cxr_ray.models.backbones import build_network
from cxr_ray.models.bundle import load_weights, read_card


class _Radiographs(Dataset[torch.Tensor]):
    def __init__(self, uris: list[str], image_size: int, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        self.uris, self.size = uris, image_size
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (mean, std))

    def __len__(self) -> int:
        return len(self.uris)

    def __getitem__(self, index: int) -> torch.Tensor:
        image = Image.open(io.BytesIO(read_bytes(self.uris[index]))).convert("RGB")
        resized = np.array(image.resize((self.size, self.size), Image.Resampling.BILINEAR))
        return (torch.from_numpy(resized).permute(2, 0, 1) / 255 - self.mean) / self.std


def plain_scoring_rate(uris: list[str], model_uri: str, *, device: str | None, batch_size: int) -> float:
    """Images per second of a DataLoader loop in fp32 over PNG or JPEG files; the start of its workers is not counted.

    Args:
        uris: files to score.
        model_uri: classifier bundle.
        device: name of a torch device; None takes a GPU if there is one, and the CPU otherwise.
        batch_size: images per forward pass.
    """
    card = read_card(model_uri)
    target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = build_network(card.backbone, num_classes=len(card.labels), image_size=card.image_size, options=card.network)
    model.load_state_dict(load_weights(model_uri, card))
    model.eval().to(target)
    images = _Radiographs(uris, card.image_size, card.mean, card.std)
    loader = DataLoader(
        images,
        batch_size=batch_size,
        num_workers=os.cpu_count() or 1,
        pin_memory=target.type == "cuda",
        persistent_workers=True,
    )
    for _ in range(2):  # the first pass includes the start of the workers, so only the second is timed
        started = time.perf_counter()
        with torch.inference_mode():
            for batch in loader:
                model(batch.to(target)).softmax(1).cpu()
    return len(uris) / (time.perf_counter() - started)
