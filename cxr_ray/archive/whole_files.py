"""Write local files that appear under their names only once they are whole, as objects of an object store do."""

import io
import os
import uuid
from pathlib import Path

import pyarrow as pa
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from pyarrow.fs import FileSystem, FSSpecHandler, PyFileSystem

from cxr_ray.archive.uris import arrow_filesystem, is_local

PART_SUFFIX = ".part"
"""End of the hidden name of a file that is being written; a killed writer leaves it."""


def whole_files(fs: AbstractFileSystem) -> FileSystem:
    """Return `fs` for pyarrow, on which no reader ever meets half a file that was written through it."""
    return PyFileSystem(WholeFiles(LocalFileSystem())) if is_local(fs) else arrow_filesystem(fs)


class WholeFiles(FSSpecHandler):  # type: ignore[misc]
    """The local filesystem for pyarrow, whose new files get their names when they are closed."""

    def open_output_stream(self, path: str, metadata: object) -> pa.PythonFile:  # noqa: ARG002
        """Open a new file for writing."""
        return pa.PythonFile(_WholeFile(Path(path)), mode="w")


class _WholeFile(io.FileIO):
    """A file with a hidden name, which replaces the file `path` when it is closed and nothing failed."""

    def __init__(self, path: Path) -> None:
        self._path, self._is_sound = path, True
        self._part = path.with_name(f".{uuid.uuid4().hex}{PART_SUFFIX}")
        super().__init__(self._part, "wb")

    def write(self, data: object) -> int:
        """Write bytes; after a failure, such as that of a full disk, the file never gets its name."""
        left = memoryview(data).cast("B")  # type: ignore[arg-type]
        size = len(left)
        try:
            while left:  # the system may write only a part, and pyarrow does not ask how much
                left = left[super().write(left) :]
        except OSError:
            self._is_sound = False
            raise
        return size

    def close(self) -> None:
        """Close the file and give it its name, or delete it after a failure."""
        if self.closed:
            return
        super().close()
        if self._is_sound:
            os.replace(self._part, self._path)
        else:
            self._part.unlink(missing_ok=True)
