"""Measurement of a peer in a process of its own, from its start to its last image."""

import importlib
import json
import subprocess
import sys
import time
from typing import Any

import msgspec
import numpy as np

from cxr_ray.benchmarks.peers.peer import PeerTask
from cxr_ray.benchmarks.rates import rate_after_warm_up
from cxr_ray.errors import ConfigError

MODULES = {"dataloader": "dataloader", "pipeline": "pipeline", "daft": "daft_query", "ray_template": "ray_template"}
"""Module of each peer, whose function `scored_at` scores the files of a `PeerTask`."""
LAST_LINE = "scored_at "
"""Beginning of the line with which a peer's process gives its times."""


def peer_rates(peer: str, **task: Any) -> dict[str, float]:
    """Images per second of a peer, `PEER_steady` after its warm-up and `PEER_whole` with its start.

    Args:
        peer: name of a peer and its precision, such as `dataloader_fp32`.
        task: the fields of `PeerTask` but the precision.

    Raises:
        ConfigError: if the peer fails; its own last line is part of the message.
    """
    name, _, precision = peer.rpartition("_")
    text = msgspec.json.encode(PeerTask(**task, precision=precision)).decode()  # type: ignore[arg-type]
    began = time.monotonic()
    command = [sys.executable, "-m", "cxr_ray.benchmarks.peers.run", name]
    ended = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603  our own module
    whole = time.monotonic() - began
    last = ended.stdout.rstrip().rpartition("\n")[2]
    if ended.returncode != 0 or not last.startswith(LAST_LINE):
        cause = ended.stderr.rstrip().rpartition("\n")[2]
        raise ConfigError(f"the peer {peer} failed: {cause}; leave it out of --peers, or install what it needs")
    times = json.loads(last.removeprefix(LAST_LINE))
    return {f"{peer}_steady": rate_after_warm_up(np.array(times)), f"{peer}_whole": len(times) / whole}


def main(name: str) -> None:
    """Run the peer `name` for the task on standard input, and print its times."""
    task = msgspec.json.decode(sys.stdin.read(), type=PeerTask)
    times = importlib.import_module(f"cxr_ray.benchmarks.peers.{MODULES[name]}").scored_at(task)
    print(LAST_LINE + json.dumps(times))


if __name__ == "__main__":
    main(sys.argv[1])
