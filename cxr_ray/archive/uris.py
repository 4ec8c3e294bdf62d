"""URIs stay `str`: local paths, `file://`, `s3://` and any other fsspec scheme, never percent-encoded."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fsspec import AbstractFileSystem, filesystem
from fsspec.core import url_to_fs

from cxr_ray.errors import StorageError

if TYPE_CHECKING:
    import pyarrow.fs

S3_SCHEMES = ("s3", "s3a")
# Listings are never cached: other processes write to the same prefixes while a job runs.
S3_OPTIONS = {
    "use_listings_cache": False,
    "config_kwargs": {"max_pool_connections": 128, "retries": {"mode": "standard", "max_attempts": 6}},
}


def open_filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """Filesystem that serves `uri`, and the path of `uri` on it.

    Characters such as `#`, `%`, `?` and spaces stand for themselves: nothing is decoded or cut off.
    S3 is configured by the standard AWS variables, `AWS_ENDPOINT_URL` included.

    Raises:
        StorageError: if the scheme is unknown or its library is not installed.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme in ("file", "local"):
        local_path = uri if not separator else uri.removeprefix(f"{scheme}://")
        return filesystem("file"), str(Path(local_path).expanduser().absolute())
    if scheme in S3_SCHEMES:
        s3 = filesystem("s3", **S3_OPTIONS)
        return s3, uri.removeprefix(f"{scheme}://").rstrip("/")
    try:
        return url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise StorageError(
            f"cannot open {uri}: {error}; use a path, file://, s3:// or an installed fsspec scheme"
        ) from error


def arrow_filesystem(fs: AbstractFileSystem) -> "pyarrow.fs.FileSystem":
    """The same filesystem for pyarrow and Ray, so that every reader and writer means the same by a URI."""
    from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

    return LocalFileSystem() if is_local(fs) else PyFileSystem(FSSpecHandler(fs))


def is_local(fs: AbstractFileSystem) -> bool:
    """Whether `fs` is this machine's disk."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def is_s3(fs: AbstractFileSystem) -> bool:
    """Whether `fs` speaks S3."""
    return "s3" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def join_uri(base: str, *names: str) -> str:
    """`base` and `names` joined by single slashes."""
    return "/".join([base.rstrip("/"), *names])


def absolute_uri(uri: str) -> str:
    """`uri` with a relative local path made absolute, so that it means the same on every worker."""
    return uri if "://" in uri else str(Path(uri).expanduser().absolute())


def exists(uri: str) -> bool:
    """Whether an object or a folder stands at `uri`."""
    fs, path = open_filesystem(uri)
    return bool(fs.exists(path))


def read_bytes(uri: str) -> bytes:
    """Whole content of the object at `uri`.

    Raises:
        StorageError: if there is none or it cannot be read.
    """
    fs, path = open_filesystem(uri)
    try:
        return bytes(fs.cat_file(path))
    except OSError as error:
        raise StorageError(
            f"cannot read {uri}: {error or type(error).__name__}; check the URI and the credentials"
        ) from error


def write_bytes(uri: str, data: bytes) -> None:
    """Put `data` at `uri`, replacing what stood there in one step."""
    with open_for_replacement(uri) as file:
        file.write(data)


@contextmanager
def open_for_replacement(uri: str) -> Iterator[IO[bytes]]:
    """A binary file whose content replaces `uri` only when the block ends without an exception.

    Raises:
        StorageError: if `uri` cannot be written.
    """
    fs, path = open_filesystem(uri)
    try:
        if is_local(fs):
            yield from _replace_local(Path(path))
        else:
            yield from _replace_remote(fs, path)
    except PermissionError as error:
        raise StorageError(f"cannot write {uri}: {error}; check the credentials and the permissions") from error


def _replace_local(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("wb") as file:
            yield file
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _replace_remote(fs: AbstractFileSystem, path: str) -> Iterator[IO[bytes]]:
    file = fs.open(path, "wb", autocommit=False)  # an object store shows the object only at commit
    try:
        yield file
        file.close()
    except BaseException:
        file.discard()
        raise
    file.commit()
