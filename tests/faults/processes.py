"""The processes that a command has started, found in /proc, and ended by handles that no other process can take over."""

import os
import select
import signal
import time
from collections.abc import Iterable, Iterator
from pathlib import Path


def descendants(root: int) -> list[int]:
    """Process ids of the children of a process, their children and so on, sorted."""
    children: dict[int, list[int]] = {}
    for pid, parent in _parents():
        children.setdefault(parent, []).append(pid)
    found, ahead = [], [root]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return sorted(found)


def _parents() -> Iterator[tuple[int, int]]:
    """Yield each process id with that of its parent, which is the second field behind the name (proc_pid_stat(5))."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text(errors="replace")
            except OSError:  # the process has ended
                continue
            yield int(folder.name), int(text.rpartition(")")[2].split()[1])


def name_of(pid: int) -> str:
    """Name that a process has given itself, of at most 15 characters; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def handles_of(pids: Iterable[int]) -> list[int]:
    """Open a handle of each process that is alive; a handle stays with its process when the id is given to another."""
    found = []
    for pid in pids:
        try:
            found.append(os.pidfd_open(pid))
        except ProcessLookupError:
            continue
    return found


def kill_worker(root: int, pid: int) -> bool:
    """Kill a process with SIGKILL if it is a descendant of `root`; return whether it was."""
    for handle in handles_of([pid]):
        is_ours = pid in descendants(root)  # checked while the handle is held
        if is_ours:
            _kill(handle)
        os.close(handle)
        return is_ours
    return False


def end(handles: Iterable[int], seconds: float = 0.0) -> None:
    """Wait up to `seconds` for processes to end by themselves, kill those that have not, and close the handles."""
    deadline = time.monotonic() + seconds
    for handle in handles:
        if not select.select([handle], [], [], max(0.0, deadline - time.monotonic()))[0]:
            _kill(handle)
        os.close(handle)


def _kill(handle: int) -> None:
    try:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except ProcessLookupError:
        return
