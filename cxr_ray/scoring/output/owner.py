"""Who writes to an output: what a run says of itself in the owner file, and whether its process still lives."""

import json
import os
import socket
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A run, and where to look whether it lives."""

    run_id: str
    host: str
    machine: str
    """Host, boot and process namespace, within which process ids can be compared; empty where they cannot be told."""
    pid: int
    process_start: int | None
    """Clock ticks from boot to the start of the process, so that a later one with its id is not taken for it."""
    heartbeat: str
    """UTC, ISO 8601."""

    def beat(self) -> "Owner":
        """The same at this moment."""
        return replace(self, heartbeat=_now())

    def to_json(self) -> bytes:
        """Content of the owner file."""
        return json.dumps(asdict(self), indent=2).encode()

    def seconds_silent(self) -> float:
        """Age of the heartbeat by this machine's clock; negative if the other clock is ahead."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.heartbeat)).total_seconds()

    def is_on_this_machine(self) -> bool:
        """Whether `is_running` can tell."""
        return bool(self.machine) and self.machine == machine_id()

    def is_running(self) -> bool:
        """Whether its process lives; to be asked on its own machine."""
        try:
            os.kill(self.pid, 0)  # sends nothing
        except ProcessLookupError:
            return False
        except PermissionError:  # another user's
            pass
        found = process_start(self.pid)
        return found is None or found == self.process_start


def this_process(run_id: str) -> Owner:
    """The owner that this process is for a run."""
    return Owner(
        run_id=run_id,
        host=socket.gethostname(),
        machine=machine_id(),
        pid=os.getpid(),
        process_start=process_start(os.getpid()),
        heartbeat=_now(),
    )


def parse_owner(content: bytes | None) -> Owner | None:
    """The owner, or None where the file is missing, half written or of another version."""
    try:
        owner = Owner(**json.loads(content or b""))
        moment = datetime.fromisoformat(owner.heartbeat)
    except (ValueError, TypeError):
        return None
    return owner if moment.tzinfo else None


def machine_id() -> str:
    """See `Owner.machine`. Containers may share the name of their host, but not its process ids."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def process_start(pid: int) -> int | None:
    """Field `starttime` of proc_pid_stat(5); -1 for a process that has ended, None where it may not be seen."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return -1 if fields[0] in "ZX" else int(fields[19])


def _now() -> str:
    return datetime.now(UTC).isoformat()
