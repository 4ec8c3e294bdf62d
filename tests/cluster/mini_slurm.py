"""A Slurm of two nodes on this machine: a controller and two daemons in network namespaces that are joined by a cable.

Nothing listens outside of the namespaces, and all files lie in one folder. It needs root and Debian's packages slurmctld,
slurmd, slurm-client and munge.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "srun", "scontrol", "munged", "mungekey", "ip", "nsenter", "unshare")
NODES = {"node1": "10.213.0.1", "node2": "10.213.0.2"}
"""Names and addresses of the nodes; the controller runs on the first."""
LOCAL = "/mnt"
"""Folder that is another one on each node, as a local disk is."""
REPOSITORY = Path(__file__).parents[2]
SECONDS = 60.0
"""Longest wait for a daemon."""


def what_is_missing() -> str:
    """Why no Slurm can be started here; empty if one can."""
    if missing := [name for name in PROGRAMS if shutil.which(name) is None]:
        return f"no Slurm here: {', '.join(missing)} not found"
    return "" if os.geteuid() == 0 else "network namespaces need root"


@dataclass(frozen=True)
class MiniSlurm:
    """A Slurm that runs.

    Args:
        folder: folder of its files.
        node_pids: a process in the namespaces of each node, by name.
    """

    folder: Path
    node_pids: dict[str, int]

    def run(self, *line: str, node: str = "node1", **variables: str) -> str:
        """Run a command on a node, as a user who is logged in there; returns what it prints."""
        done = subprocess.run(
            self._inside(node, line), env=self._environment() | variables, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(line)} ended with {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def state(self, job: str) -> dict[str, str]:
        """What the controller says of a job, such as `JobState` and `ExitCode`."""
        text = self.run("scontrol", "show", "job", job, "--oneliner")
        return dict(word.partition("=")[::2] for word in text.split())

    def wait_for(self, job: str, *states: str, seconds: float) -> dict[str, str]:
        """Wait until a job is in one of some states; returns what the controller says of it then."""
        deadline = time.monotonic() + seconds
        while (found := self.state(job))["JobState"] not in states:
            if time.monotonic() > deadline:
                raise TimeoutError(f"job {job} is {found['JobState']} ({found['Reason']}), not {' or '.join(states)}")
            time.sleep(0.5)
        return found

    def _inside(self, node: str, line: tuple[str, ...]) -> list[str]:
        return [
            "nsenter",
            "--target",
            str(self.node_pids[node]),
            "--net",
            "--uts",
            "--mount",
            f"--wdns={REPOSITORY}",
            *line,
        ]

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | {"SLURM_CONF": str(self.folder / "slurm.conf"), "TMPDIR": LOCAL}

    @contextmanager
    def daemon(self, node: str, *line: str) -> Iterator[None]:
        """A daemon on a node, in the foreground of a process of its own that is ended with the block."""
        with (self.folder / f"{node}-{line[0]}.out").open("wb") as out:
            process = subprocess.Popen(self._inside(node, line), env=self._environment(), stdout=out, stderr=out)
            try:
                yield
            finally:
                process.terminate()
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


@contextmanager
def mini_slurm(folder: Path, *, cpus: int, gpus: int = 0) -> Iterator[MiniSlurm]:
    """Start a Slurm of two nodes with so many CPUs and pretended GPUs each, and end it with the block.

    Raises:
        TimeoutError: if its nodes are not idle in time.
    """
    with ExitStack() as stack:
        slurm = MiniSlurm(folder, {name: stack.enter_context(_namespaces(name, folder)) for name in NODES})
        _connect(slurm)
        (folder / "slurm.conf").write_text(_configuration(folder, cpus, gpus))
        (folder / "gres.conf").write_text(
            "".join(f"NodeName=node[1-2] Name=gpu File=/dev/{name}\n" for name in ("zero", "full")[:gpus])
        )
        for name in ("state", "node1", "node2"):
            (folder / name).mkdir()
        subprocess.run(["mungekey", "--create", f"--keyfile={folder}/munge.key"], check=True)
        stack.enter_context(slurm.daemon("node1", *_munged(folder)))
        _wait_for_file(folder / "munge.socket")
        stack.enter_context(slurm.daemon("node1", "slurmctld", "-D"))
        for name in NODES:
            stack.enter_context(slurm.daemon(name, "slurmd", "-D", "-N", name))
        _wait_for_nodes(slurm)
        yield slurm


@contextmanager
def _namespaces(name: str, folder: Path) -> Iterator[int]:
    """Network, host name and mounts of a node, which live as long as a process in them; yields its id."""
    hosts = folder / "hosts"
    hosts.write_text("127.0.0.1 localhost\n" + "".join(f"{ip} {node}\n" for node, ip in NODES.items()))
    setup = f"hostname {name} && mount -t tmpfs none {LOCAL} && mount --bind {hosts} /etc/hosts && ip link set lo up"
    line = ["unshare", "--net", "--uts", "--mount", "sh", "-c", f"{setup} && echo ready && exec sleep infinity"]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None or process.stdout.readline() != "ready\n":
            raise RuntimeError("the namespaces of a node cannot be made")
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def _connect(slurm: MiniSlurm) -> None:
    """Join the nodes by a pair of virtual network devices, and give them their addresses."""
    first, second = slurm.node_pids.values()
    ends = ["name", "slurm0", "type", "veth", "peer", "name", "slurm0", "netns", str(second)]
    subprocess.run(["nsenter", "--target", str(first), "--net", "ip", "link", "add", *ends], check=True)
    for name, address in NODES.items():
        slurm.run("ip", "address", "add", f"{address}/24", "dev", "slurm0", node=name)
        slurm.run("ip", "link", "set", "slurm0", "up", node=name)


def _munged(folder: Path) -> list[str]:
    files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    return ["munged", "--foreground", "--force", *(f"--{option}={folder}/munge.{end}" for option, end in files.items())]


def _configuration(folder: Path, cpus: int, gpus: int) -> str:
    # cred_expire is also the time that a job waits after scontrol requeue.
    return f"""
ClusterName=mini
SlurmctldHost=node1({NODES["node1"]})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_min_interval=100000
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=20
{"GresTypes=gpu" if gpus else ""}
NodeName=node1 NodeAddr={NODES["node1"]} CPUs={cpus} RealMemory=16000 {f"Gres=gpu:{gpus}" if gpus else ""}
NodeName=node2 NodeAddr={NODES["node2"]} CPUs={cpus} RealMemory=16000 {f"Gres=gpu:{gpus}" if gpus else ""}
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


def _wait_for_file(path: Path) -> None:
    deadline = time.monotonic() + SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{path} does not appear")
        time.sleep(0.05)


def _wait_for_nodes(slurm: MiniSlurm) -> None:
    deadline, states = time.monotonic() + SECONDS, ""
    while time.monotonic() < deadline:
        try:
            states = slurm.run("sinfo", "--noheader", "--Node", "--format=%t")
        except RuntimeError as error:  # the controller does not answer yet
            states = str(error)
        if states.split() == ["idle", "idle"]:
            return
        time.sleep(0.2)
    raise TimeoutError(f"the nodes are not idle: {states}")
