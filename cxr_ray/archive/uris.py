"""Open, read and write URIs, which are `str`: local paths, `file://`, `s3://` and any other fsspec scheme, never percent-encoded."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fsspec import AbstractFileSystem, filesystem
from fsspec.core import url_to_fs
from fsspec.spec import AbstractBufferedFile

from cxr_ray.archive.storage_fix import fix_of
from cxr_ray.errors import StorageError

if TYPE_CHECKING:
    import pyarrow.fs
    import s3fs

S3_SCHEMES = ("s3", "s3a")
# Listings are never cached, because other processes write to the same prefixes while a job runs. Many objects are
# downloaded at the same time, but parts of one object are not, because that would need a HEAD before every GET.
S3_OPTIONS = {
    "use_listings_cache": False,
    "max_concurrency": 1,
    "config_kwargs": {"max_pool_connections": 128, "retries": {"mode": "standard", "max_attempts": 6}},
}


def open_filesystem(uri: str) -> tuple[AbstractFileSystem, str]:
    """Open the filesystem of `uri`, and return it with the path of `uri` on it.

    Characters such as `#`, `%`, `?` and spaces are literal: nothing is decoded or cut off.
    S3 is configured by the standard AWS variables, including `AWS_ENDPOINT_URL`.

    Raises:
        StorageError: if the scheme is unknown or its library is not installed.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator or scheme in ("file", "local"):
        local_path = uri if not separator else uri.removeprefix(f"{scheme}://")
        return filesystem("file"), _absolute_path(local_path)
    if scheme in S3_SCHEMES:
        from cxr_ray.archive.s3 import CheckedS3

        return CheckedS3(**s3_options()), uri.removeprefix(f"{scheme}://").rstrip("/")
    try:
        other, path = url_to_fs(uri, use_listings_cache=False)
    except (ValueError, ImportError) as error:
        raise StorageError(
            f"cannot open {uri}: {error}; use a path, file://, s3:// or an installed fsspec scheme"
        ) from error
    return other, str(path)


def s3_options() -> dict[str, Any]:
    """Options with which every filesystem of S3 is opened: `S3_OPTIONS` and the endpoint.

    The endpoint is an option, because fsspec caches filesystems by their options and ignores later changes of the
    environment.
    """
    return {"endpoint_url": os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"), **S3_OPTIONS}


def arrow_filesystem(fs: AbstractFileSystem) -> "pyarrow.fs.FileSystem":
    """Convert a filesystem for pyarrow and Ray, so that every reader and writer resolves a URI in the same way."""
    from pyarrow.fs import FSSpecHandler, LocalFileSystem, PyFileSystem

    return LocalFileSystem() if is_local(fs) else PyFileSystem(FSSpecHandler(fs))


def is_local(fs: AbstractFileSystem) -> bool:
    """Whether `fs` is the local filesystem of this machine."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def is_s3(fs: AbstractFileSystem) -> bool:
    """Whether `fs` is an S3 object store."""
    return "s3" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)


def is_object(fs: AbstractFileSystem, path: str) -> bool:
    """Whether one object lies at `path`, and no folder.

    On S3 an object may have the name of a folder; then the folder is meant, because it holds more.
    """
    return bool(fs.isfile(path)) and not (is_s3(fs) and _holds_objects(fs, path))


def _holds_objects(fs: "s3fs.S3FileSystem", path: str) -> bool:
    """Whether objects lie below a path on S3, other than the marker of the folder itself."""
    fs.connect()
    bucket, _, key = path.partition("/")
    page = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{key}/", MaxKeys=2)
    return any(item["Key"] != f"{key}/" for item in page.get("Contents", ()))


def join_uri(base: str, *names: str) -> str:
    """Join `base` and `names` by single slashes; the slashes of `memory://` and `file:///` are kept."""
    scheme, separator, path = base.rpartition("://")
    return "/".join([f"{scheme}{separator}{path.rstrip('/')}", *names])


def parent_uri(uri: str) -> str:
    """The folder of the file at `uri`: `.` for a bare name, `/` for a file in the root of the disk."""
    scheme, separator, path = uri.rpartition("://")
    folder, slash, _ = path.rpartition("/")
    return f"{scheme}{separator}{folder or slash}" or "."


def absolute_uri(uri: str) -> str:
    """Make a relative local path absolute, so that it means the same on every worker; other URIs are unchanged."""
    return uri if "://" in uri else _absolute_path(uri)


def _absolute_path(path: str) -> str:
    # Path.expanduser is not used, because it refuses a folder named ~x if no user x exists.
    return str(Path(os.path.expanduser(path)).absolute())  # noqa: PTH111


def exists(uri: str) -> bool:
    """Whether an object or a folder exists at `uri`.

    Raises:
        StorageError: if the storage does not answer or refuses access.
    """
    fs, path = open_filesystem(uri)
    with named_failures("read", uri):
        return bool(fs.exists(path))


def read_bytes(uri: str) -> bytes:
    """Read the whole content of the object at `uri`.

    Raises:
        StorageError: if the object does not exist or cannot be read.
    """
    fs, path = open_filesystem(uri)
    with named_failures("read", uri):
        return bytes(fs.cat_file(path))


def write_bytes(uri: str, data: bytes) -> None:
    """Write `data` to `uri`, replacing an existing object in one step.

    Raises:
        StorageError: if `uri` cannot be written.
    """
    fs, path = open_filesystem(uri)
    if is_local(fs):
        with open_for_replacement(uri) as file:
            file.write(data)
        return
    with named_failures("write", uri):
        fs.pipe_file(path, data)  # one request, which may be repeated, and whose checksum the store keeps


def delete_tree(uri: str) -> None:
    """Delete the object at `uri`, or the folder with its content; do nothing if neither exists.

    Raises:
        StorageError: if it cannot be deleted.
    """
    fs, path = open_filesystem(uri)
    with named_failures("delete", uri), suppress(FileNotFoundError):
        fs.invalidate_cache()
        fs.rm(path, recursive=True)


@contextmanager
def open_for_replacement(uri: str) -> Iterator[IO[bytes]]:
    """Open a binary file whose content replaces `uri` only if the block ends without an exception.

    Raises:
        StorageError: if `uri` cannot be written.
    """
    fs, path = open_filesystem(uri)
    with named_failures("write", uri):
        yield from _replace_local(Path(path)) if is_local(fs) else _replace_remote(fs, path)


def storage_failures() -> tuple[type[Exception], ...]:
    """Types of the exceptions that filesystems raise: `OSError`, botocore's own, and those of answers that were cut short."""
    from aiohttp import ClientError
    from botocore.exceptions import BotoCoreError  # type: ignore[import-untyped]

    return OSError, BotoCoreError, ClientError


@contextmanager
def named_failures(action: str, uri: str) -> Iterator[None]:
    """Convert an exception of the filesystem inside the block to a one-line error such as `cannot read s3://a/b: ...`.

    Raises:
        StorageError: if the filesystem of `uri` raises.
    """
    try:
        yield
    except storage_failures() as error:
        raise StorageError(f"cannot {action} {uri}: {one_line(error)}; {fix_of(error)}") from error


def one_line(error: BaseException) -> str:
    """Message of `error` on one line of at most 300 characters, or its type if it has no message."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _replace_local(path: Path) -> Iterator[IO[bytes]]:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}.part")  # listings skip hidden files
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
        with suppress(*storage_failures()):  # the first failure is raised, not that of discarding
            file.discard()
        if isinstance(file, AbstractBufferedFile):
            file.closed = True  # its end would write what is left, and wait for ever where Python itself is ending
        raise
