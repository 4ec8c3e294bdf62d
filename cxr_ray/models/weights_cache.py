"""Weights files named by a URI: read in place on this machine, else downloaded once per node; known by sha256."""

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError

from cxr_ray.archive.uris import is_local, named_failures, one_line, open_filesystem, read_bytes
from cxr_ray.errors import BundleError, StorageError

CHUNK = 8 * 2**20
VALIDATORS = (
    "etag",
    "blobid",
    "md5hash",
    "contentmd5",
    "digest",
    "generation",
    "versionid",
    "lastmodified",
    "modified",
    "mtime",
    "updated",
    "created",
)
"""Fields in which object stores name the version of an object, in lower case, without dashes and underscores."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A whole weights file.

    Attributes:
        data: content of the file.
        sha256: sha256 of `data`, 64 lower-case hex digits.
    """

    data: bytes = field(repr=False)
    sha256: str


class OtherWeightsError(BundleError):
    """The file at a URI does not have the expected sha256 but `found`."""

    def __init__(self, message: str, found: str = "") -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True, kw_only=True)
class _Known:
    """Record that the cache keeps of the object at a URI."""

    uri: str
    identity: dict[str, str]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def fetch_weights(uri: str, sha256: str | None = None) -> Weights:
    """Read the whole file at `uri`, whatever it holds.

    A file of this machine is read in place. Any other file is cached in `$XDG_CACHE_HOME/cxr_ray/weights`, or below
    `~/.cache`: the processes of a node download it once, and each checks the sha256 of what it reads there. Without
    `sha256` every call asks the storage whether the object has changed since the download; if the storage reports
    neither a checksum nor a time, every call downloads the object again.

    Args:
        uri: URI of a file, not of a folder.
        sha256: 64 hex digits that the sha256 of the file must equal; if the cache has that file, the storage is not
            asked. None accepts any file.

    Raises:
        StorageError: if the file does not exist, or cannot be read to its end.
        OtherWeightsError: if the sha256 of the file is not `sha256`.
        BundleError: if `sha256` is not 64 hex digits, or the cache cannot be written.
    """
    wanted = None if sha256 is None else _checked_digits(uri, sha256)
    if is_local(open_filesystem(uri)[0]):
        data = read_bytes(uri)
        weights = Weights(data, hashlib.sha256(data).hexdigest())
        _refuse_another(uri, weights.sha256, wanted)
        return weights
    found = _cached(uri, wanted)
    if found is None:
        with _alone(uri):  # another process may have come first
            found = _cached(uri, wanted) or _read_checked(_download(uri, wanted))
    if found is None:
        raise BundleError(
            f"a file written to {_folder()} was lost or damaged; name a folder on another disk in XDG_CACHE_HOME"
        )
    return found


def weights_sha256(uri: str) -> str:
    """Compute the sha256 of the file at `uri`, 64 lower-case hex digits, without holding the file in memory.

    A file of this machine is hashed at every call. Any other file is downloaded into the cache of `fetch_weights`,
    unless the cache has recorded its sha256 and the storage reports that it has not changed since.

    Raises:
        StorageError: if the file does not exist, or cannot be read to its end.
        BundleError: if the cache cannot be written.
    """
    fs, path = open_filesystem(uri)
    if is_local(fs):
        with named_failures("read", uri), Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    known = _remembered(uri)
    if known is None:
        with _alone(uri):
            known = _remembered(uri) or _download(uri, None)
    return known


def is_folder(uri: str) -> bool:
    """Whether `uri` names a folder.

    Raises:
        StorageError: if the storage does not answer.
    """
    fs, path = open_filesystem(uri)
    with named_failures("read", uri):
        return bool(fs.isdir(path))


def _checked_digits(uri: str, sha256: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", sha256.lower()):  # the digits become the name of a file
        raise BundleError(f"the sha256 of {uri} must be 64 hex digits; got {sha256!r}")
    return sha256.lower()


def _refuse_another(uri: str, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise OtherWeightsError(
            f"{uri} is not the expected file: its sha256 is {found}, not {wanted}; "
            "put the right file there or correct the sha256",
            found,
        )


def _cached(uri: str, wanted: str | None) -> Weights | None:
    """Undamaged file of the cache with the sha256 `wanted`, by default that of the object now at `uri`; else None."""
    known = wanted or _remembered(uri)
    return None if known is None else _read_checked(known)


def _read_checked(sha256: str) -> Weights | None:
    path = _kept(sha256)
    with _cache_failures():
        if not path.exists():
            return None
        data = path.read_bytes()
    return Weights(data, sha256) if hashlib.sha256(data).hexdigest() == sha256 else None


def _remembered(uri: str) -> str | None:
    """The sha256 of the object that is at `uri` now, if the cache has recorded it; else None."""
    identity, path = _identity(_info(uri)), _beside(uri, "json")
    with _cache_failures():
        record = path.read_bytes() if path.exists() else b""
    try:
        known = TypeAdapter(_Known).validate_json(record)
    except ValidationError:  # there is no record yet, or it is damaged
        return None
    return known.sha256 if identity and known.identity == identity else None


def _download(uri: str, wanted: str | None) -> str:
    """Download the object at `uri` into the cache, whole or not at all, inside `_alone`; return its sha256."""
    info = _info(uri)
    part = _beside(uri, "part")
    try:
        found, size = _write(uri, part)
        if info.get("size") not in (None, size):
            raise StorageError(f"cannot read {uri}: it broke off after {size} of {info['size']} bytes; try again")
        _refuse_another(uri, found, wanted)
        with _cache_failures():
            part.replace(_kept(found))
    finally:
        part.unlink(missing_ok=True)
    identity = _identity(info)
    if identity and identity == _identity(_info(uri)):  # the object was not replaced during the download
        known = json.dumps(asdict(_Known(uri=uri, identity=identity, sha256=found)))
        with _cache_failures():
            part.write_text(known)
            part.replace(_beside(uri, "json"))
    return found


def _write(uri: str, part: Path) -> tuple[str, int]:
    """Copy the object at `uri` to `part`; return its sha256 and its size in bytes."""
    digest, size = hashlib.sha256(), 0
    with _cache_failures(), part.open("wb") as file:
        for chunk in _chunks(uri):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _chunks(uri: str) -> Iterator[bytes]:
    fs, path = open_filesystem(uri)
    with named_failures("read", uri), fs.open(path, "rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _info(uri: str) -> dict[str, Any]:
    """What the storage reports now about the object at `uri`."""
    fs, path = open_filesystem(uri)
    with named_failures("read", uri):
        fs.invalidate_cache()
        info: dict[str, Any] = fs.info(path)
        if info.get("type") == "directory":
            raise IsADirectoryError("it is a folder")
    return info


def _identity(info: Mapping[str, Any]) -> dict[str, str]:
    """Size and version fields that identify one version of an object; empty if the storage reports no version field."""
    versions = {
        key: str(value) for key, value in info.items() if value and re.sub("[-_]", "", key.lower()) in VALIDATORS
    }
    return versions | {"size": str(info.get("size"))} if versions else {}


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cxr_ray" / "weights"


def _kept(sha256: str) -> Path:
    return _folder() / f"{sha256}.bin"


def _beside(uri: str, suffix: str) -> Path:
    """File of the cache for `uri`: its record (json), download lock (lock) or unfinished download (part)."""
    return _folder() / "by_uri" / f"{hashlib.sha256(uri.encode()).hexdigest()}.{suffix}"


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Lock the download of `uri` against other processes and threads of the node; a killed process frees the lock."""
    lock = FileLock(_beside(uri, "lock"))
    with _cache_failures():
        Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _cache_failures() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise BundleError(
            f"weights cannot be cached in {_folder()}: {one_line(error)}; "
            "free space and allow writing there, or name another folder in XDG_CACHE_HOME"
        ) from error
