import torch

from cxr_ray.benchmarks import peak_memory


def test_a_block_that_fills_memory_is_seen():
    with peak_memory.peak_memory(torch.device("cpu")) as before:
        pass
    with peak_memory.peak_memory(torch.device("cpu")) as during:
        torch.ones(2**26).sum()
    assert during.mebibytes > before.mebibytes + 200


def test_a_system_that_reports_no_maximum_gives_none(tmp_path, monkeypatch):
    monkeypatch.setattr(peak_memory, "PROCESS", tmp_path)
    (tmp_path / "status").write_text("Name: python\nVmRSS: 12 kB\n")
    with peak_memory.peak_memory(torch.device("cpu")) as peak:
        pass
    assert peak.mebibytes is None
