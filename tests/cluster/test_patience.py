import time

import pytest

from cxr_ray.cluster.patience import Patience, amount
from cxr_ray.errors import ClusterError


def test_it_says_what_it_waits_for_and_since_when(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    patience = Patience(5, wanted="1 GPU", fix="add a node")
    assert patience.said() == ""
    patience.note(is_waiting=True)
    now[0] = 107.0
    assert patience.said() == "waiting for 1 GPU: 7 s"
    now[0] = 100.0 + 4 * 60
    patience.note(is_waiting=True)
    assert patience.said() == "waiting for 1 GPU: 4 min"
    patience.note(is_waiting=False)
    assert patience.said() == ""
    patience.note(is_waiting=True)
    now[0] += 5 * 60 + 1
    with pytest.raises(
        ClusterError,
        match=r"^the job waited 5 min for 1 GPU, and no node brought it; add a node, or wait longer with --max-wait-minutes",
    ):
        patience.note(is_waiting=True)


def test_amounts():
    assert [amount(0.5, 1), amount(0.5, 2.0), amount(1, 0.5), amount(4, 0), amount(1, 0)] == [
        "1 GPU",
        "2 GPUs",
        "0.5 GPU",
        "4 CPUs",
        "1 CPU",
    ]
