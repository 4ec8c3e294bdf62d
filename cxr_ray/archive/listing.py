"""List every object under a prefix as a stream, sorted by the UTF-8 bytes of the names on every storage."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from fsspec import AbstractFileSystem

from cxr_ray.archive.s3_listing import Bucket
from cxr_ray.archive.storage_fix import fix_of
from cxr_ray.archive.uris import is_local, is_object, is_s3, join_uri, one_line, open_filesystem, storage_failures
from cxr_ray.errors import StorageError


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedObject:
    """One object as its storage lists it; its content has not been read."""

    name: str
    """Name relative to the listed prefix; if the prefix is itself an object, the object's own name."""
    uri: str
    size_bytes: int
    modified: datetime | None
    """Time of the last change, with a time zone; None if the storage does not know it."""
    etag: str | None


def list_objects(uri: str) -> Iterator[ListedObject]:
    """Stream the objects under `uri`, sorted by the UTF-8 bytes of their names, in near-constant memory.

    Hidden objects (a name or folder that starts with `.`), folder markers, pipes and devices are skipped. The order is
    the same on every storage, so two listings can be merged as streams.

    Raises:
        StorageError: if nothing exists at `uri`, it is empty, or it cannot be listed.
    """
    fs, root = open_filesystem(uri)
    try:
        found = False
        for entry in _entries(fs, root, _utf8(join_uri(uri))):
            found = True
            if not any(part.startswith(".") for part in entry.name.split("/")):
                yield entry
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StorageError(f"nothing exists at {uri}; check the URI") from error
    except storage_failures() as error:
        raise StorageError(f"cannot list {uri}: {one_line(error)}; {fix_of(error)}") from error
    if not found:
        raise StorageError(f"{uri} is empty; name the folder or prefix that holds the images")


def _entries(fs: AbstractFileSystem, root: str, uri: str) -> Iterator[ListedObject]:
    if is_s3(fs):
        return _list_s3(fs, root, uri)
    if is_object(fs, root):
        return iter([_from_info(fs.info(root), root.rpartition("/")[2], uri)])
    if is_local(fs):
        return _scan_folder(root, "", uri, frozenset())
    return _walk(fs, root, "", uri)


def _list_s3(fs: Any, root: str, uri: str) -> Iterator[ListedObject]:
    """List a prefix of S3 with ListObjectsV2."""
    fs.connect()
    bucket, _, key_prefix = root.partition("/")
    folder = f"{key_prefix}/" if key_prefix else ""
    if key_prefix and is_object(fs, root):
        yield _from_info(fs.info(root), root.rpartition("/")[2], uri)
        return
    # All dates of a listing are ISO 8601; botocore's own parser guesses the format, which would take half of the time.
    fs.session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_parse_timestamp)
    for key, size, modified, etag in Bucket(fs, bucket).items(folder):
        name = key.removeprefix(folder)
        if name and not _is_folder_marker(name, size):
            yield ListedObject(
                name=name, uri=join_uri(uri, name), size_bytes=size, modified=modified, etag=etag or None
            )


def _is_folder_marker(name: str, size_bytes: int) -> bool:
    """Whether an object stands for a folder: consoles write keys that end in `/`, Hadoop writes empty `NAME_$folder$`."""
    return name.endswith("/") or (not size_bytes and name.endswith("_$folder$"))


def _parse_timestamp(value: Any) -> datetime:
    from botocore.utils import parse_timestamp  # type: ignore[import-untyped]

    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):  # dates in HTTP headers are RFC 822
        parsed: datetime = parse_timestamp(value)
        return parsed


def _scan_folder(folder: str, name_prefix: str, uri: str, above: frozenset[tuple[int, int]]) -> Iterator[ListedObject]:
    """List local files recursively; symbolic links are followed, except a link to a folder that contains it."""
    here = os.stat(folder)
    if (here.st_dev, here.st_ino) in above:
        return
    above |= {(here.st_dev, here.st_ino)}
    with os.scandir(folder) as scan:
        # A folder is sorted as "name/", because that is how its objects sort in an object store.
        entries = sorted((_utf8(e.name) + "/" * _is_folder(e), e.path) for e in scan)
    for shown, path in entries:
        if shown.endswith("/"):
            yield from _scan_folder(path, name_prefix + shown, uri, above)
        else:
            yield from _local_file(path, name_prefix + shown, uri)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself, or a path that this user has no permission to read
        return False


def _local_file(path: str, name: str, uri: str) -> Iterator[ListedObject]:
    try:
        status = os.stat(path)
    except OSError:  # a dangling link becomes a row, which scoring reports as not_found
        yield ListedObject(name=name, uri=join_uri(uri, name), size_bytes=0, modified=None, etag=None)
        return
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would block for ever
        return
    yield ListedObject(
        name=name,
        uri=join_uri(uri, name),
        size_bytes=status.st_size,
        modified=datetime.fromtimestamp(status.st_mtime, UTC),
        etag=None,
    )


def _utf8(name: str) -> str:
    """Make a file name valid UTF-8, as Parquet requires: bytes that are not UTF-8 become escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _walk(fs: AbstractFileSystem, folder: str, name_prefix: str, uri: str) -> Iterator[ListedObject]:
    """List any other fsspec filesystem recursively, folder by folder."""
    infos = {}
    for info in fs.ls(folder, detail=True):
        base = info["name"].rstrip("/").rpartition("/")[2]
        infos[base + "/" if info["type"] == "directory" else base] = info
    for base, info in sorted(infos.items()):
        if base.endswith("/"):
            yield from _walk(fs, info["name"], name_prefix + base, uri)
        else:
            yield _from_info(info, name_prefix + base, join_uri(uri, name_prefix + base))


def _from_info(info: dict[str, Any], name: str, uri: str) -> ListedObject:
    modified = info.get("LastModified") or info.get("mtime") or info.get("created")
    if isinstance(modified, int | float):
        modified = datetime.fromtimestamp(modified, UTC)
    etag = str(info.get("ETag") or info.get("etag") or "").strip('"')
    return ListedObject(name=name, uri=uri, size_bytes=info.get("size") or 0, modified=modified, etag=etag or None)
