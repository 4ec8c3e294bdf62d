import subprocess
import sys

import pytest
import torch

from cxr_ray.benchmarks import peak_memory

TWO_BLOCKS = """
import torch
from cxr_ray.benchmarks.peak_memory import peak_memory
with peak_memory(torch.device("cpu")) as before:
    pass
with peak_memory(torch.device("cpu")) as during:
    torch.ones(2**26).sum()
print(during.mebibytes - before.mebibytes)
"""


@pytest.mark.slow
def test_a_block_that_fills_memory_is_seen():
    """In a new process, because not every kernel lets a process reset its maximum, and other tests fill memory, too."""
    run = subprocess.run([sys.executable, "-c", TWO_BLOCKS], capture_output=True, text=True, check=True)
    assert 200 < float(run.stdout) < 300


def test_a_system_that_reports_no_maximum_gives_none(tmp_path, monkeypatch):
    monkeypatch.setattr(peak_memory, "PROCESS", tmp_path)
    (tmp_path / "status").write_text("Name: python\nVmRSS: 12 kB\n")
    with peak_memory.peak_memory(torch.device("cpu")) as peak:
        pass
    assert peak.mebibytes is None
