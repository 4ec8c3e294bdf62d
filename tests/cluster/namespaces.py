"""Machines for tests: Linux namespaces with a network, processes, a host name and temporary files of their own.

A machine sees the packages that are installed here, and neither the code of this repository nor a file of another
machine. Its namespaces have no names in the system: they are gone with its first process, which ends when this process
does, however it ends.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO

from tests.faults.processes import descendants

REPOSITORY = Path(__file__).parents[2]
TOOLS = ("unshare", "nsenter", "ip", "mount", "bash")
ADDRESS = "10.77.0.{}"
"""Addresses of the machines; no other process of this system sees them."""
NAMESPACES = ("--net", "--mount", "--uts", "--pid")


@cache
def why_no_machines() -> str:
    """Say why machines cannot be made here; empty if they can."""
    if os.geteuid() != 0:
        return "namespaces need root"
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"namespaces need {', '.join(missing)}"
    if Path(sys.prefix).is_relative_to("/tmp"):
        return f"the packages in {sys.prefix} are hidden by the temporary files of a machine"
    line = ["unshare", *NAMESPACES, "--fork", "--mount-proc", "ip", "link", "add", "hub", "type", "bridge"]
    tried = subprocess.run(line, capture_output=True, text=True, check=False)
    return f"namespaces cannot be made: {tried.stderr.strip()}" if tried.returncode else ""


class Machine:
    """A machine; its `/tmp`, `/dev/shm` and home are empty at its start and belong to it alone.

    Args:
        name: host name.
        address: its address in the network.
        folder: an empty folder of this system, which the machine sees as `/tmp`.
        hosts: file of the names and addresses of all machines.
        variables: environment of its programs, beside a search path and a home.
        with_code: whether it has this repository, at `/tmp/repository`.
    """

    def __init__(
        self, name: str, address: str, folder: Path, hosts: Path, variables: dict[str, str], *, with_code: bool
    ) -> None:
        self.name, self.address, self.folder = name, address, folder
        (folder / "home").mkdir(parents=True)
        folders = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.variables = {"PATH": folders, "HOME": "/tmp/home", "LC_ALL": "C.UTF-8"} | variables
        if with_code:
            self.variables["PYTHONPATH"] = "/tmp/repository"
        self._logs: list[IO[bytes]] = []
        script = "\n".join(["set -e", *_first_lines(name, folder, hosts, with_code=with_code), "echo ready", "read"])
        self._outer = subprocess.Popen(
            ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "bash", "-c", script],
            stdin=subprocess.PIPE,  # at its end, which that of this process brings, the first process of the machine ends
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        if self._outer.stdout is None or self._outer.stdout.readline() != "ready\n":
            raise RuntimeError(f"the machine {name} did not start: {self._outer.communicate()[1]}")
        self.pid = descendants(self._outer.pid)[0]

    def start(self, line: Sequence[str], log: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a program whose output goes to the file `log` of the machine's folder."""
        self._logs.append((self.folder / log).open("wb"))
        return subprocess.Popen(
            self._entered(line),
            env=self.variables | variables,
            stdin=subprocess.DEVNULL,
            stdout=self._logs[-1],
            stderr=subprocess.STDOUT,
        )

    def run(self, line: Sequence[str], seconds: float = 600.0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, and return its exit code and what it said on both outputs together."""
        return subprocess.run(
            self._entered(line),
            env=self.variables | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=seconds,
        )

    def check(self, line: Sequence[str], seconds: float = 600.0, **variables: str) -> str:
        """Run a program and return what it said; raises `RuntimeError` with that if its exit code is not 0."""
        done = self.run(line, seconds, **variables)
        if done.returncode:
            raise RuntimeError(f"{shlex.join(line)} on {self.name} ended with {done.returncode}: {done.stdout}")
        return done.stdout

    def lose(self) -> None:
        """Take the machine away at once, with all of its processes and its network."""
        if self._outer.poll() is None:
            os.kill(self.pid, signal.SIGKILL)  # the first process, whose end is that of all others
        self._outer.communicate()
        for log in self._logs:
            log.close()

    def _entered(self, line: Sequence[str]) -> list[str]:
        folder = "/tmp/repository" if "PYTHONPATH" in self.variables else "/tmp"
        return ["nsenter", "--target", str(self.pid), *NAMESPACES, f"--wdns={folder}", "--", *line]


def _first_lines(name: str, folder: Path, hosts: Path, *, with_code: bool) -> list[str]:
    """Commands by which a machine takes its name and its own files, before it sees another machine."""
    lines = [f"echo {name} > /proc/sys/kernel/hostname", "ip link set lo up", f"mount --bind {hosts} /etc/hosts"]
    lines += ["mount --bind /dev/null /etc/resolv.conf"]  # the servers that it names are out of reach
    lines += ["mount -t tmpfs -o size=1g shm /dev/shm"]
    if with_code:
        lines += [f"mkdir {folder}/repository", f"mount --bind {REPOSITORY} {folder}/repository"]
    elif installed := _installed_code():
        lines += [f"mount -t tmpfs none {installed}"]
    return [*lines, f"mount --rbind {folder} /tmp"]


@cache
def _installed_code() -> str:
    """Folder of the product where it is installed here beside its packages; empty if it is not."""
    find = "from importlib.util import find_spec; found = find_spec('cxr_ray'); print(found.origin if found else '')"
    line = [sys.executable, "-I", "-c", find]
    origin = subprocess.run(line, capture_output=True, text=True, check=True).stdout.strip()
    return str(Path(origin).parent) if origin else ""


class Network:
    """Machines that reach each other by name, and nothing else; the first one that is added is their switch.

    Args:
        names: host names of all machines that may be added.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="machines"))
        self._addresses = {name: ADDRESS.format(number) for number, name in enumerate(names, start=1)}
        self._hosts = self.folder / "hosts"
        lines = [f"{address} {name}\n" for name, address in self._addresses.items()]
        self._hosts.write_text("127.0.0.1 localhost\n" + "".join(lines))
        self.machines: dict[str, Machine] = {}

    def add(self, name: str, variables: dict[str, str], *, with_code: bool = False) -> Machine:
        """Start a machine and connect it; the arguments are those of `Machine`."""
        address = self._addresses[name]
        self.machines[name] = machine = Machine(
            name, address, self.folder / name, self._hosts, variables, with_code=with_code
        )
        switch = next(iter(self.machines.values()))
        card = "hub"
        if machine is switch:
            machine.check(["ip", "link", "add", card, "type", "bridge"])
            machine.check(["bash", "-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])  # it answers that there is no way
        else:
            card, port = "eth0", f"port{address.rpartition('.')[2]}"
            ends = ["netns", str(machine.pid), "type", "veth", "peer", "name", port, "netns", str(switch.pid)]
            subprocess.run(["ip", "link", "add", card, *ends], check=True)
            switch.check(["ip", "link", "set", port, "master", "hub", "up"])
        machine.check(["ip", "address", "add", f"{address}/24", "dev", card])
        machine.check(["ip", "link", "set", card, "up"])
        if machine is not switch:  # the way out that every machine has; behind this one is nothing
            machine.check(["ip", "route", "add", "default", "via", switch.address])
        return machine

    def __enter__(self) -> "Network":
        """Use the network in a `with` block, at whose end all machines and their files are gone."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all machines."""
        for machine in reversed(self.machines.values()):
            machine.lose()
        shutil.rmtree(self.folder)
