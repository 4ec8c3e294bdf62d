"""Training history as TensorBoard event files."""

import tempfile
from pathlib import Path
from typing import Any

from cxr_ray.archive.uris import join_uri, open_filesystem, write_bytes


def write_tensorboard(history: list[dict[str, Any]], uri: str) -> None:
    """Write every metric of every epoch as a scalar into event files in the folder at `uri`."""
    from torch.utils.tensorboard import SummaryWriter

    fs, path = open_filesystem(uri)
    if fs.exists(path):
        fs.rm(path, recursive=True)  # curves of an earlier training would overlap these
    with tempfile.TemporaryDirectory() as folder:
        with SummaryWriter(folder) as writer:
            for metrics in history:
                for name, value in metrics.items():
                    if name != "epoch":
                        writer.add_scalar(
                            name.replace("val_", "val/").replace("train_", "train/"), value, metrics["epoch"]
                        )
        for file in Path(folder).iterdir():
            write_bytes(join_uri(uri, file.name), file.read_bytes())
