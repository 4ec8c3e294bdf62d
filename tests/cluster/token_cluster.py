"""A Ray cluster with token authentication, a machine for each node, and an S3 server as all that the machines share.

The cluster is started with the commands of `cluster/README.md`, and its jobs are submitted as a user would, from a
machine of its own that is called `desk`.
"""

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from tests.cluster.namespaces import Machine, Network

STORE = {
    "AWS_ENDPOINT_URL": "http://store:5000",
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}
RAY = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "OMP_WAIT_POLICY": "PASSIVE",  # the machines share the cores of one
}
SECRET = {"CXR_RAY_PATIENT_SECRET": "of the cluster of machines"}
MEMORY = "--object-store-memory=200000000"
TOKEN = "home/.ray/auth_token"
WAYS = {
    "submit.py": ("python", "jobs/submit.py"),
    "ray job submit": ("ray", "job", "submit", "--working-dir", ".", "--", "python"),
}
"""How a job is submitted: the words before its name and flags."""
START_SECONDS = 180.0


@dataclass
class Submission:
    """A job that was submitted and is followed from the desk."""

    process: subprocess.Popen[bytes]
    desk: Machine
    log: str

    @property
    def said(self) -> str:
        """What the submission has said so far."""
        return (self.desk.folder / self.log).read_text(errors="replace")

    def finish(self, seconds: float = 600.0) -> int:
        """Wait for the end of the submission, and return its exit code."""
        return self.process.wait(seconds)

    def images(self) -> int:
        """Number of images that are scored, as the last line of progress says."""
        return self._progress()[0]

    def is_scored(self) -> bool:
        """Whether all images are scored, as the last line of progress says."""
        done, total = self._progress()
        return 0 < total == done

    def _progress(self) -> tuple[int, int]:
        found = re.findall(r"([\d,]+)/([\d,]+) images", self.said)
        done, total = (int(number.replace(",", "")) for number in found[-1]) if found else (0, 0)
        return done, total

    def wait_for_images(self, wanted: int, seconds: float = 300.0) -> None:
        """Wait until so many images are scored; raises `TimeoutError` with what the submission said otherwise."""
        deadline = time.monotonic() + seconds
        while self.images() < wanted:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise TimeoutError(f"{wanted} images are not scored: {self.said}")
            time.sleep(0.2)


class TokenCluster:
    """A head without CPUs, nodes of `cpus` CPUs each, a store, and the desk of a user; made by `token_cluster`."""

    def __init__(self, network: Network, cpus: int) -> None:
        self._network, self._cpus, self._submissions = network, cpus, 0
        self.store = network.add("store", {})
        self.desk = network.add("desk", STORE | RAY | {"RAY_ADDRESS": "http://head:8265"}, with_code=True)
        self.head = network.add("head", STORE | RAY | SECRET)

    def start(self, nodes: Sequence[str]) -> None:
        """Start the store, the head and the first nodes."""
        server = [sys.executable, "-m", "moto.server", "--host", self.store.address, "--port", "5000"]
        self.store.start(server, "store.log")
        self.head.check(["ray", "get-auth-token", "--generate"])
        self._give_token(self.desk)
        self.head.check(["ray", "start", "--head", "--num-cpus=0", "--dashboard-host=0.0.0.0", MEMORY], START_SECONDS)
        for name in nodes:
            self.add_node(name)

    def add_node(self, name: str) -> None:
        """Start a machine which joins the cluster."""
        node = self._network.add(name, STORE | RAY)
        self._give_token(node)
        node.check(["ray", "start", "--address", "head:6379", f"--num-cpus={self._cpus}", MEMORY], START_SECONDS)

    def lose_node(self, name: str) -> None:
        """Take a node away at once, as a machine whose power fails."""
        self._network.machines[name].lose()

    def _give_token(self, machine: Machine) -> None:
        copy = machine.folder / TOKEN
        copy.parent.mkdir()
        copy.write_bytes((self.head.folder / TOKEN).read_bytes())
        copy.chmod(0o600)

    def submit(self, way: str, job: str, flags: Sequence[str]) -> Submission:
        """Submit a job with its flags from the desk in one of the `WAYS`, and follow it."""
        self._submissions += 1
        log = f"{self._submissions}-{job}.log"
        return Submission(self.desk.start([*WAYS[way], f"jobs/{job}.py", *flags], log), self.desk, log)

    def name_of(self, address: str) -> str:
        """Name of the machine that has an address."""
        return next(name for name, machine in self._network.machines.items() if machine.address == address)

    def tasks(self) -> dict[str, dict[str, list[float]]]:
        """Durations in seconds of the tasks that ended well in the last job: by name of the task, and address of the node."""
        return json.loads(self.desk.check([sys.executable, "-m", "tests.cluster.task_records"]).splitlines()[-1])


@contextmanager
def token_cluster(nodes: Sequence[str], later: Sequence[str] = (), *, cpus: int = 1) -> Iterator[TokenCluster]:
    """Run a cluster, which is gone after the block.

    Args:
        nodes: names of the nodes with which it starts.
        later: names of the nodes that may be added.
        cpus: number of CPUs of each node.
    """
    with Network(["store", "desk", "head", *nodes, *later]) as network:
        cluster = TokenCluster(network, cpus)
        cluster.start(nodes)
        yield cluster
