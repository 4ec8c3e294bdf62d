"""Baseline of training: a plain PyTorch loop in one process."""

import os
import statistics
import time

import numpy as np
import torch

from cxr_ray.config import BenchmarkTrainingConfig
from cxr_ray.config.backbones import IMAGENET_MEAN, IMAGENET_STD
from cxr_ray.models.backbones import BACKBONES, build_backbone
from cxr_ray.models.precision import autocast, precision_of_gradients


def plain_training_rate(
    config: BenchmarkTrainingConfig, backbone: str, pixels: np.ndarray, targets: np.ndarray
) -> float:
    """Images per second of a plain training loop, the median of the epochs after the first.

    A step flips and normalises a batch, goes forward and backward, clips the gradient and updates with AdamW.

    Args:
        config: gives the batch size, the number of epochs, the precision and the device.
        backbone: a key of `BACKBONES`.
        pixels: uint8 [N, S, S], grey images in memory.
        targets: int64 [N], class indices.
    """
    device = torch.device("cuda" if config.use_gpu else "cpu")
    torch.set_num_threads(os.cpu_count() or 1)
    memory_format = torch.channels_last if BACKBONES[backbone].channels_last else torch.contiguous_format
    model = build_backbone(backbone, num_classes=int(targets.max()) + 1, image_size=config.image_size)
    model = model.to(device).to(memory_format=memory_format).train()
    forward = torch.compile(model) if config.compile else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
    mean, std = (torch.tensor(v, device=device).view(1, 3, 1, 1) * 255 for v in (IMAGENET_MEAN, IMAGENET_STD))
    images, truth = torch.from_numpy(pixels), torch.from_numpy(targets)
    rates = []
    for _ in range(config.epochs):
        started, order = time.perf_counter(), torch.randperm(len(images))
        steps = len(images) // config.batch_size
        for step in range(steps):
            chosen = order[step * config.batch_size : (step + 1) * config.batch_size]
            grey = images[chosen].to(device).unsqueeze(1).float()
            flip = torch.rand(len(chosen), 1, 1, 1, device=device) < 0.5
            inputs = (torch.where(flip, grey.flip(3), grey) - mean) / std
            with autocast(device, precision_of_gradients(device, config.precision)):
                loss = criterion(forward(inputs.contiguous(memory_format=memory_format)), truth[chosen].to(device))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        loss.item()  # waits until a GPU has finished the epoch
        rates.append(steps * config.batch_size / (time.perf_counter() - started))
    return statistics.median(rates[1:])
