"""Folders for temporary files that do not outlive their process by long, even if the process is killed."""

import fcntl
import os
import shutil
import tempfile
import time
import weakref
from pathlib import Path

SETTLING_S = 60.0
"""Age in seconds from which an unlocked folder counts as left behind; its process locks it right after making it."""


class ScratchFolder:
    """A temporary folder that is deleted when this object is, at the end of the process, or by a later process.

    A process that is killed deletes nothing, but loses its lock on the folder. The next process that makes a folder of
    the same purpose in the same place therefore deletes what such processes left behind.

    Args:
        purpose: word for what the folder is for, which is part of its name.
        parent: folder in which the new one is made; that of the system if None.

    Attributes:
        path: path of the folder.

    Raises:
        OSError: if the folder cannot be made.
    """

    def __init__(self, purpose: str, parent: str | None = None) -> None:
        place = Path(parent or tempfile.gettempdir())
        prefix = f"cxr_ray_scratch_{purpose}_"
        _delete_left_behind(place, prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix, dir=place))
        lock = _locked(self.path)
        self._finalizer = weakref.finalize(self, _delete, self.path, lock)

    def delete(self) -> None:
        """Delete the folder now; further calls do nothing."""
        self._finalizer()


def _locked(path: Path) -> int | None:
    """Lock a folder until the descriptor that is returned is closed; None if another process holds it or it is gone."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:  # another process deleted it, or it belongs to another user
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held, or on a disk without locks, where nothing is known to be left behind
        os.close(descriptor)
        return None
    return descriptor


def _delete(path: Path, lock: int | None) -> None:
    shutil.rmtree(path, ignore_errors=True)
    if lock is not None:
        os.close(lock)


def _delete_left_behind(place: Path, prefix: str) -> None:
    for path in place.glob(f"{prefix}*"):
        try:
            status = path.lstat()
        except OSError:  # its own process deleted it in the meantime
            continue
        is_ours = status.st_uid == os.getuid() and not path.is_symlink()
        if is_ours and time.time() - status.st_mtime > SETTLING_S and (lock := _locked(path)) is not None:
            _delete(path, lock)
