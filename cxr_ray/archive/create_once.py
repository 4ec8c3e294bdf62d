"""Create a file that must not exist yet, so that of several writers one alone succeeds."""

import enum
import errno
from pathlib import Path
from typing import Any

from cxr_ray.archive.storage_fix import CHECK_ALL, fix_of
from cxr_ray.archive.uris import is_local


class Creation(enum.Enum):
    """How the creation of a file ended."""

    CREATED = "created"
    EXISTS = "exists"
    """Another file is there, and stays."""
    UNGUARDED = "unguarded"
    """The file was written, by a store that cannot tell whether it replaced another one."""


def create_once(fs: Any, path: str, content: bytes) -> Creation:
    """Create a file on any fsspec filesystem; other exceptions than those that say that it exists pass.

    Args:
        fs: the filesystem.
        path: path of the file in it; the folder of a local file is made.
        content: bytes of the file, which no other writer gives it.
    """
    if is_local(fs):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        try:
            with Path(path).open("xb") as file:
                file.write(content)
        except FileExistsError:
            return Creation.EXISTS
        return Creation.CREATED
    try:
        fs.pipe_file(path, content, mode="create")
    except OSError as error:
        if fix_of(error) != CHECK_ALL:
            raise  # what happened is known, and it is not that the file exists
        found = _content(fs, path)  # not every store gives the reason of its refusal
        if found is not None:  # a client that repeats a successful write finds its own file
            return Creation.CREATED if found == content else Creation.EXISTS
        if error.errno != errno.ENOSYS:
            raise
        fs.pipe_file(path, content)
        return Creation.UNGUARDED
    return Creation.CREATED


def _content(fs: Any, path: str) -> bytes | None:
    """The content of a file, None if there is no such file."""
    try:
        return bytes(fs.cat_file(path))
    except FileNotFoundError:
        return None
