"""URIs stay `str`: local paths, `file://`, `s3://` and any other fsspec scheme, never percent-encoded."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from fsspec import AbstractFileSystem, filesystem
from fsspec.core import url_to_fs

from cxr_ray.errors import StorageError

if TYPE_CHECKING:
    import pyarrow.fs

S3_SCHEMES = ("s3", "s3a")
# Listings are never cached: other processes write to the same prefixes while a job runs. Parts of one object are not
# fetched side by side, which would cost a HEAD before every GET; many objects are.
S3_OPTIONS = {
    "use_listings_cache": False,
    "max_concurrency": 1,
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
        return filesystem("file"), _absolute_path(local_path)
    if scheme in S3_SCHEMES:
        # Named here, since fsspec keeps one filesystem for each set of options, whatever the environment says later.
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        s3 = filesystem("s3", endpoint_url=endpoint, **S3_OPTIONS)
        return s3, uri.removeprefix(f"{scheme}://").rstrip("/")
    try:
        other, path = url_to_fs(uri)
    except (ValueError, ImportError) as error:
        raise StorageError(
            f"cannot open {uri}: {error}; use a path, file://, s3:// or an installed fsspec scheme"
        ) from error
    return other, str(path)


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
    """`base` and `names` joined by single slashes; the slashes of `memory://` and `file:///` stay."""
    scheme, separator, path = base.rpartition("://")
    return "/".join([f"{scheme}{separator}{path.rstrip('/')}", *names])


def parent_uri(uri: str) -> str:
    """The folder of the file at `uri`: `.` for a bare name, `/` for a file in the root of the disk."""
    scheme, separator, path = uri.rpartition("://")
    folder, slash, _ = path.rpartition("/")
    return f"{scheme}{separator}{folder or slash}" or "."


def absolute_uri(uri: str) -> str:
    """`uri` with a relative local path made absolute, so that it means the same on every worker."""
    return uri if "://" in uri else _absolute_path(uri)


def _absolute_path(path: str) -> str:
    # Not Path.expanduser, which refuses a folder named ~x where no user x exists.
    return str(Path(os.path.expanduser(path)).absolute())  # noqa: PTH111


def exists(uri: str) -> bool:
    """Whether an object or a folder stands at `uri`.

    Raises:
        StorageError: if the storage does not answer.
    """
    fs, path = open_filesystem(uri)
    with named_failures("read", uri):
        return bool(fs.exists(path))


def read_bytes(uri: str) -> bytes:
    """Whole content of the object at `uri`.

    Raises:
        StorageError: if there is none or it cannot be read.
    """
    fs, path = open_filesystem(uri)
    with named_failures("read", uri):
        return bytes(fs.cat_file(path))


def write_bytes(uri: str, data: bytes) -> None:
    """Put `data` at `uri`, replacing what stood there in one step."""
    with open_for_replacement(uri) as file:
        file.write(data)


def delete_tree(uri: str) -> None:
    """Delete the object at `uri`, or the folder with all that is in it; nothing happens where nothing is.

    Raises:
        StorageError: if it cannot be deleted.
    """
    fs, path = open_filesystem(uri)
    with named_failures("delete", uri), suppress(FileNotFoundError):
        fs.invalidate_cache()
        fs.rm(path, recursive=True)


@contextmanager
def open_for_replacement(uri: str) -> Iterator[IO[bytes]]:
    """A binary file whose content replaces `uri` only when the block ends without an exception.

    Raises:
        StorageError: if `uri` cannot be written.
    """
    fs, path = open_filesystem(uri)
    with named_failures("write", uri):
        yield from _replace_local(Path(path)) if is_local(fs) else _replace_remote(fs, path)


def storage_failures() -> tuple[type[Exception], ...]:
    """What filesystems raise: beside `OSError` botocore's own errors, such as an endpoint that does not answer."""
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

    return OSError, BotoCoreError


@contextmanager
def named_failures(action: str, uri: str) -> Iterator[None]:
    """Turn what the filesystem of `uri` raises inside the block into one line: `cannot read s3://a/b: ...`."""
    try:
        yield
    except storage_failures() as error:
        mend = "check the URI, the credentials and the permissions"
        raise StorageError(f"cannot {action} {uri}: {one_line(error)}; {mend}") from error


def one_line(error: BaseException) -> str:
    """Message of `error` on one line of bounded length; its type where it has none."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _replace_local(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.part")  # hidden from listings
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
        file.commit()
    except BaseException:
        with suppress(*storage_failures()):  # the first failure is the one to tell
            file.discard()
        raise
