"""The run that writes to an output: what its owner file holds, and how to see whether its process is alive."""

import json
import os
import socket
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A run, and what is needed to see whether its process is alive."""

    run_id: str
    host: str
    """Host name of the machine."""
    machine: str
    """Id of the machine, its boot and its process namespace, in which process ids are unique; empty if unknown."""
    pid: int
    """Process id."""
    process_start: int | None
    """Clock ticks from boot to the start of the process, which tell it from a later process with the same id."""
    heartbeat: str
    """Time of the last heartbeat, UTC in ISO 8601."""

    def beat(self) -> "Owner":
        """Return a copy of this owner whose heartbeat is now."""
        return replace(self, heartbeat=_now())

    def to_json(self) -> bytes:
        """Return the content of the owner file, JSON in UTF-8."""
        return json.dumps(asdict(self), indent=2).encode()

    def seconds_silent(self) -> float:
        """Age of the heartbeat in seconds by this machine's clock; negative if the owner's clock is ahead."""
        return (datetime.now(UTC) - datetime.fromisoformat(self.heartbeat)).total_seconds()

    def is_on_this_machine(self) -> bool:
        """Whether the owner runs on this machine, so that `is_running` gives a valid answer."""
        return bool(self.machine) and self.machine == machine_id()

    def is_running(self) -> bool:
        """Whether the owner's process is alive; valid only on the owner's own machine."""
        try:
            os.kill(self.pid, 0)  # signal 0 only checks that the process exists
        except ProcessLookupError:
            return False
        except PermissionError:  # the process exists and belongs to another user
            pass
        found = process_start(self.pid)
        return found is None or found == self.process_start


def this_process(run_id: str) -> Owner:
    """Return the owner that describes this process and the run `run_id`."""
    return Owner(
        run_id=run_id,
        host=socket.gethostname(),
        machine=machine_id(),
        pid=os.getpid(),
        process_start=process_start(os.getpid()),
        heartbeat=_now(),
    )


def parse_owner(content: bytes | None) -> Owner | None:
    """Read an owner from the content of its file; None if the file is missing, incomplete or of another version."""
    try:
        owner = Owner(**json.loads(content or b""))
        moment = datetime.fromisoformat(owner.heartbeat)
    except (ValueError, TypeError):
        return None
    return owner if moment.tzinfo else None


def machine_id() -> str:
    """Id of this machine, its boot and its process namespace; empty if the system does not give them.

    Two containers may have the same host name, but their process ids belong to different namespaces.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{socket.gethostname()} {boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def process_start(pid: int) -> int | None:
    """Clock ticks from boot to the start of a process; -1 if it has ended, None if the system hides it.

    The value is field `starttime` of proc_pid_stat(5).
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the program's name before the last bracket may contain spaces
    return -1 if fields[0] in "ZX" else int(fields[19])


def _now() -> str:
    return datetime.now(UTC).isoformat()
