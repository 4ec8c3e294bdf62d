"""A Ray cluster whose autoscaler starts processes of this machine as nodes, by Ray's fake multi-node provider.

Ray's own `AutoscalingCluster` is no help: its start and its end stop every Ray process of the machine, and it reads a
file that is not in Ray's wheel.
"""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ray.autoscaler._private.fake_multi_node.node_provider import FAKE_HEAD_NODE_ID
from ray.util import get_node_ip_address

PROVIDER = "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider"
LISTS = ("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands")
LISTS += (
    "head_start_ray_commands",
    "worker_start_ray_commands",
    "cluster_synced_files",
    "rsync_exclude",
    "rsync_filter",
)
START_SECONDS = 60.0


def autoscaling_config(address: str, groups: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Configuration of the cluster launcher; `groups` are the resources and the maximum of each group of nodes."""
    kinds = {
        name: {"node_config": {}, "min_workers": 0, "max_workers": group["most"], "resources": group["resources"]}
        for name, group in groups.items()
    }
    head = {"node_config": {}, "max_workers": 0, "resources": {"CPU": 0}}
    provider = {"type": "external", "module": PROVIDER, "gcs_address": address, "head_node_id": FAKE_HEAD_NODE_ID}
    return {
        "cluster_name": "fake",
        "max_workers": sum(group["most"] for group in groups.values()),
        "provider": provider | {"launch_multiple": True},
        "available_node_types": {"ray.head.default": head, **kinds},
        "head_node_type": "ray.head.default",
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 5,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "file_mounts_sync_continuously": False,
        **{name: [] for name in LISTS},
    }


@contextmanager
def autoscaled_cluster(folder: Path, groups: dict[str, dict[str, Any]]) -> Iterator[dict[str, str]]:
    """Start a head without CPUs and without workers, and end all of its processes.

    Args:
        folder: folder with a short path for the files of Ray.
        groups: by name, the `resources` of a node and the maximum number `most` of the group.

    Yields:
        The environment variables of a job that joins the cluster.
    """
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    address = f"{get_node_ip_address()}:{port}"
    file = folder / "ray_bootstrap_config.yaml"
    file.write_text(json.dumps(autoscaling_config(address, groups)))
    line = [str(Path(sys.executable).with_name("ray")), "start", "--head", "--block", "--port", str(port)]
    line += ["--num-cpus", "0", "--include-dashboard=false", "--object-store-memory", str(100 * 2**20)]
    line += ["--temp-dir", str(folder / "r"), "--disable-usage-stats", f"--autoscaling-config={file}"]
    fake = {"RAY_FAKE_CLUSTER": "1", "AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_enable_autoscaler_v2": "1"}
    ids = {"RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID, "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID}
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_TMPDIR": str(folder)}
    log = (folder / "head.log").open("wb")
    head = subprocess.Popen(
        line, env=os.environ | fake | ids | token, stdout=log, stderr=log, start_new_session=True, cwd=folder
    )
    try:
        _wait_until_it_listens(head, address, folder / "head.log")
        yield token | {"RAY_ADDRESS": address}
    finally:
        os.killpg(head.pid, signal.SIGKILL)
        head.wait()
        log.close()


def _wait_until_it_listens(head: subprocess.Popen[bytes], address: str, log: Path) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except OSError as error:
            if head.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"the head did not start: {log.read_text()}") from error
            time.sleep(0.2)
        else:
            return
