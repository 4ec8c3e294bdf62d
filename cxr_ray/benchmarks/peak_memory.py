"""The most memory that a piece of work took."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import torch

PROCESS = Path("/proc/self")


@dataclass(slots=True)
class PeakMemory:
    """Filled in when the block ends."""

    mebibytes: float | None = None
    """None where the system does not tell."""


@contextmanager
def peak_memory(device: torch.device) -> Iterator[PeakMemory]:
    """Measure the block: what tensors held of a GPU at most, or else what this process held of the machine.

    Args:
        device: where the work is done.
    """
    peak = PeakMemory()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        yield peak
        peak.mebibytes = torch.cuda.max_memory_allocated(device) / 2**20
        return
    with suppress(OSError):  # only Linux has it
        (PROCESS / "clear_refs").write_text("5")  # the high-water mark starts again from what is held now
    yield peak
    with suppress(OSError):
        status = (PROCESS / "status").read_text().splitlines()
        peak.mebibytes = next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
