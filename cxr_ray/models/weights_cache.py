"""Weights named by a URI: read in place on this machine, else fetched once per node; known by their sha256."""

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
"""What object stores tell of a version of an object, in lower case and without dashes."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A whole weights file.

    Attributes:
        data: its bytes.
        sha256: theirs, 64 lower-case hex digits.
    """

    data: bytes = field(repr=False)
    sha256: str


class OtherWeightsError(BundleError):
    """What stands at a URI is not the file whose sha256 was given; `found` is the sha256 that it has."""

    def __init__(self, message: str, found: str = "") -> None:
        super().__init__(message)
        self.found = found


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the cache remembers of the object at a URI."""

    uri: str
    identity: dict[str, str]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def fetch_weights(uri: str, sha256: str | None = None) -> Weights:
    """The file at `uri`, whatever it holds.

    A file of this machine is read where it is. Any other is kept in `$XDG_CACHE_HOME/cxr_ray/weights`, or below
    `~/.cache`: the processes of a node download it once, and each checks what it reads there. Without `sha256` the
    storage is asked at every call whether the object is still the one that was downloaded; where it tells neither a
    checksum nor a time, the object is downloaded at every call.

    Args:
        uri: of a file, not a folder.
        sha256: 64 hex digits that the file must have; where a node has them already, the storage is not asked.

    Raises:
        StorageError: if there is no such file, or it cannot be read to its end.
        OtherWeightsError: if the file is not the one of `sha256`.
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
        raise BundleError(f"{_folder()} does not keep what is written there; name another disk in XDG_CACHE_HOME")
    return found


def weights_sha256(uri: str) -> str:
    """The sha256 of the file at `uri`, 64 lower-case hex digits, without holding the file in memory.

    A file of this machine is hashed at every call; any other is downloaded into the cache of `fetch_weights` unless its
    sha256 is remembered there and the storage says that it has not changed since.

    Raises:
        StorageError: if there is no such file, or it cannot be read to its end.
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
    """Whether `uri` names a folder, in which weights lie under their usual names.

    Raises:
        StorageError: if the storage does not answer.
    """
    fs, path = open_filesystem(uri)
    with named_failures("read", uri):
        return bool(fs.isdir(path))


def _checked_digits(uri: str, sha256: str) -> str:
    if not re.fullmatch("[0-9a-f]{64}", sha256.lower()):  # it becomes the name of a file
        raise BundleError(f"the sha256 of {uri} must be 64 hex digits; got {sha256!r}")
    return sha256.lower()


def _refuse_another(uri: str, found: str, wanted: str | None) -> None:
    if wanted is not None and found != wanted:
        raise OtherWeightsError(
            f"{uri} is not the file that was meant: its sha256 is {found}, not {wanted}; "
            "put the right file there or correct the sha256",
            found,
        )


def _cached(uri: str, wanted: str | None) -> Weights | None:
    """The file of `wanted`, or else of the object that is at `uri` now, if it lies whole in the cache."""
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
    """The sha256 of the object that is at `uri` now, if it was downloaded before."""
    identity, path = _identity(_info(uri)), _beside(uri, "json")
    with _cache_failures():
        note = path.read_bytes() if path.exists() else b""
    try:
        known = TypeAdapter(_Known).validate_json(note)
    except ValidationError:  # none yet, or a damaged one
        return None
    return known.sha256 if identity and known.identity == identity else None


def _download(uri: str, wanted: str | None) -> str:
    """Bring the object at `uri` into the cache, whole or not at all, and return its sha256. Only inside `_alone`."""
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
    if identity and identity == _identity(_info(uri)):  # else it was replaced meanwhile
        known = json.dumps(asdict(_Known(uri=uri, identity=identity, sha256=found)))
        with _cache_failures():
            part.write_text(known)
            part.replace(_beside(uri, "json"))
    return found


def _write(uri: str, part: Path) -> tuple[str, int]:
    """Copy the object at `uri` to `part`; its sha256 and its bytes."""
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
    """What the storage says of the object at `uri` now."""
    fs, path = open_filesystem(uri)
    with named_failures("read", uri):
        fs.invalidate_cache()
        info: dict[str, Any] = fs.info(path)
        if info.get("type") == "directory":
            raise IsADirectoryError("it is a folder")
    return info


def _identity(info: Mapping[str, Any]) -> dict[str, str]:
    """What tells one version of an object from the next; empty where a storage tells nothing that would."""
    told = {key: str(value) for key, value in info.items() if value and re.sub("[-_]", "", key.lower()) in VALIDATORS}
    return told | {"size": str(info.get("size"))} if told else {}


def _folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "cxr_ray" / "weights"


def _kept(sha256: str) -> Path:
    return _folder() / f"{sha256}.bin"


def _beside(uri: str, suffix: str) -> Path:
    """A file that belongs to `uri`: json what is known of it, lock who may download it, part what is on its way."""
    return _folder() / "by_uri" / f"{hashlib.sha256(uri.encode()).hexdigest()}.{suffix}"


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """No other process or thread of the node downloads `uri` inside the block; a killed one lets go of it."""
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
            f"weights cannot be kept in {_folder()}: {one_line(error)}; "
            "make room and allow writing there, or name another folder in XDG_CACHE_HOME"
        ) from error
