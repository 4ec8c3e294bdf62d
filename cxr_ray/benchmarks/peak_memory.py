"""Measurement of the maximum memory that a block of code needs."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

PROCESS = Path("/proc/self")


@dataclass(slots=True)
class PeakMemory:
    """Maximum memory of a block of code; `peak_memory` sets it when the block ends."""

    mebibytes: float | None = None
    """Maximum in MiB; None until the block ends, and where the operating system does not report it."""


@contextmanager
def peak_memory(device: torch.device) -> Iterator[PeakMemory]:
    """Measure the maximum memory of a `with` block: that of tensors on a GPU, or on a CPU that of this whole process.

    Args:
        device: device on which the block computes.
    """
    peak = PeakMemory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.mebibytes = torch.cuda.max_memory_allocated(device) / 2**20
        return
    with suppress(OSError):  # only Linux has this file
        (PROCESS / "clear_refs").write_text("5")  # resets the recorded maximum to the memory in use now
    yield peak
    with suppress(OSError):
        status = (PROCESS / "status").read_text().splitlines()
        for line in status:
            if line.startswith("VmHWM"):  # some kernels of containers do not write this line
                peak.mebibytes = int(line.split()[1]) / 1024
