"""Models converted for an engine: each is made once per node, kept on disk, and shared by the node's processes."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock

from cxr_ray import __version__
from cxr_ray.archive.uris import one_line
from cxr_ray.errors import EngineError
from cxr_ray.models.engines.agreement import check_pixels
from cxr_ray.models.engines.engine import ForwardPass

if TYPE_CHECKING:
    import torch
    from torch import nn

REFERENCE, SUMS = "reference.npy", "sha256.json"

Convert = Callable[["nn.Module", "torch.Tensor", Path], None]
"""Writes a network, given uint8 [8, S, S] as an example of its input, into an existing empty folder."""


def converted_model(forward: ForwardPass, convert: Convert, *, depends_on: list[str]) -> Path:
    """Folder of the node's cache with what `convert` made of a model, and the model's outputs in `REFERENCE`.

    The cache is `$XDG_CACHE_HOME/cxr_ray/engines`, or below `~/.cache`; it may be deleted at any time. The first process
    of the node that asks makes the folder, whole or not at all, and others wait for it. Files are checked by their
    sha256; a damaged folder is made again.

    Args:
        forward: the model.
        convert: writes the model's network in the form that the engine reads.
        depends_on: name of the engine, version of its library, and whatever else what `convert` writes depends on.

    Raises:
        EngineError: if the cache cannot be written.
        BundleError: if the model's bundle is missing or damaged.
    """
    key = hashlib.sha256(json.dumps([__version__, forward.identity, *depends_on]).encode()).hexdigest()[:32]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cxr_ray" / "engines"
    folder, part = cache / key, cache / f"{key}.part"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with FileLock(cache / f"{key}.lock"):
            if not is_whole(folder):
                for unfinished in (folder, part):
                    shutil.rmtree(unfinished, ignore_errors=True)
                part.mkdir()
                _make(forward, convert, part)
                part.rename(folder)
    except OSError as error:
        raise EngineError(
            f"converted models cannot be kept in {cache}: {one_line(error)}; name another folder in XDG_CACHE_HOME"
        ) from error
    return folder


def reference_of(folder: Path) -> np.ndarray:
    """Outputs float32 [8, ...] of torch in fp32 for `check_pixels`, kept in a folder of `converted_model`."""
    return np.asarray(np.load(folder / REFERENCE))


def is_whole(folder: Path) -> bool:
    """Whether a folder of the cache holds what was written there, byte for byte."""
    sums = folder / SUMS
    return sums.exists() and json.loads(sums.read_bytes()) == sums_of(folder)


def _make(forward: ForwardPass, convert: Convert, folder: Path) -> None:
    import torch

    network, pixels = forward.build(), torch.from_numpy(check_pixels(forward.image_size))
    with torch.inference_mode():
        np.save(folder / REFERENCE, network(pixels).numpy())
    convert(network, pixels, folder)
    (folder / SUMS).write_text(json.dumps(sums_of(folder)))


def sums_of(folder: Path) -> dict[str, str]:
    """The sha256 of each file of a folder of the cache, by its name."""
    sums = {}
    for path in sorted(folder.iterdir()):
        if path.name != SUMS:
            with path.open("rb") as file:
                sums[path.name] = hashlib.file_digest(file, "sha256").hexdigest()
    return sums
