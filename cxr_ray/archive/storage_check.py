"""Check that storage can be read and written, before a job starts workers or lists an archive."""

import errno
import logging
import threading
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as TooLate
from contextlib import suppress
from pathlib import Path
from typing import Any

from fsspec import AbstractFileSystem

from cxr_ray.archive.create_once import Creation, create_once
from cxr_ray.archive.storage_fix import code_of
from cxr_ray.archive.uris import (
    S3_SCHEMES,
    is_local,
    is_s3,
    named_failures,
    open_filesystem,
    s3_options,
    storage_failures,
)
from cxr_ray.errors import StorageError

log = logging.getLogger("cxr_ray")

MOST_SECONDS = 14.0
"""Seconds within which each check ends, also if a store never answers."""
_IMPATIENT = {"connect_timeout": 3, "read_timeout": 5, "retries": {"mode": "standard", "max_attempts": 2}}
"""Options of S3 with which all attempts fit into `MOST_SECONDS`."""
NO_REFUSAL = {"InvalidRange", "416", "InvalidObjectState"}
"""Codes with which a store answers for an empty object, and for one that must be fetched from an archive first."""
_ATTEMPTS = 3
"""Times that s3fs makes a request whose answer was damaged, or came from a store that fails."""


def check_storage(*, read: Sequence[str], write: str) -> None:
    """Read an object under each URI of `read`, and write, read and delete one under the URI `write`.

    A store that lets a second writer replace an object which was to be created once is named in a warning: of two jobs
    that start on the same output at the same moment, both may then run for a while.

    Raises:
        StorageError: if one of them fails or takes more than `MOST_SECONDS`; the message is one line with the fix.
    """
    for uri in read:
        _in_time(_read_one, "read", uri)
    if not _in_time(_write_one, "write", write):
        log.warning(
            "the store of %s does not honour conditional writes; start jobs on the same output one after the other",
            write,
        )


def check_objects(uris: Sequence[str]) -> None:
    """Read the first byte of one of several objects of a remote store; one that does not exist is no failure here.

    Several are tried, because some stores refuse access to an object that does not exist.

    Raises:
        StorageError: if access to all is refused, or a store does not answer within `MOST_SECONDS`.
    """
    refusals: list[StorageError] = []
    for uri in uris:
        try:
            _in_time(_read_byte, "read", uri)
        except StorageError as error:
            refusals.append(error)
    if uris and len(refusals) == len(uris):
        raise refusals[0]


def _in_time(check: Callable[[AbstractFileSystem, str], Any], action: str, uri: str) -> Any:
    """Run a check in a thread of its own, which is left behind if it takes too long."""
    result: Future[Any] = Future()

    def run() -> None:
        try:
            result.set_result(check(*_impatient(uri)))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            result.set_exception(error)

    threading.Thread(target=run, name="storage-check", daemon=True).start()
    with named_failures(action, uri):
        try:
            return result.result(MOST_SECONDS)
        except TooLate as error:
            if result.done():
                raise
            raise StorageError(
                f"cannot {action} {uri}: no answer within {MOST_SECONDS:.0f} s; check the address"
                f"{' in AWS_ENDPOINT_URL' if uri.startswith(S3_SCHEMES) else ''} and the network"
            ) from error


def _impatient(uri: str) -> tuple[AbstractFileSystem, str]:
    """Open the filesystem of `uri` as `open_filesystem` does, but without its long patience with a store of S3."""
    fs, path = open_filesystem(uri)
    if is_s3(fs):
        from cxr_ray.archive.s3 import CheckedS3

        fs = CheckedS3(skip_instance_cache=True, **s3_options() | {"config_kwargs": _IMPATIENT})
        fs.retries = _ATTEMPTS
    return fs, path


def _read_one(fs: Any, path: str) -> None:
    """Read a byte of the object at `path`, or of the first object below it; a prefix without objects is no failure."""
    if not is_s3(fs):
        if is_local(fs) and Path(path).is_dir():
            next(Path(path).iterdir(), None)
        elif fs.exists(path) and fs.isfile(path):
            fs.cat_file(path, 0, 1)  # a manifest
        return
    bucket, _, key = path.partition("/")
    for prefix in (f"{key}/" if key else "", key):
        page = fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=20)
        if found := [item["Key"] for item in page.get("Contents", ()) if item["Size"]]:
            _read_any(fs, [f"{bucket}/{name}" for name in (found[0], found[-1])])
            return


def _read_any(fs: Any, paths: Sequence[str]) -> None:
    """Read a byte of one of several objects; single ones may be archived, or of another owner."""
    refusals: list[Exception] = []
    for path in paths:
        try:
            _read_byte(fs, path)
        except storage_failures() as error:
            refusals.append(error)
    if len(refusals) == len(paths):
        raise refusals[0]


def _read_byte(fs: Any, path: str) -> None:
    if is_local(fs):
        return  # a file that this user may not read is a row and no reason to end the job
    try:
        fs.cat_file(path, 0, 1)
    except FileNotFoundError:
        return
    except storage_failures() as error:
        if code_of(error) not in NO_REFUSAL:
            raise


def _write_one(fs: Any, path: str) -> bool:
    """Write an object under `path`, read and delete it; return whether the store refuses to create it twice."""
    name, content = f"{path}/_state/check-{uuid.uuid4().hex}", uuid.uuid4().bytes
    if not is_s3(fs):  # s3fs would make the bucket
        fs.makedirs(f"{path}/_state", exist_ok=True)
    created = create_once(fs, name, content)
    try:
        if bytes(fs.cat_file(name)) != content:
            raise OSError(errno.EIO, "the store returned other bytes than were written")
        return created is Creation.CREATED and create_once(fs, name, b"second") is Creation.EXISTS
    finally:
        with suppress(*storage_failures()):
            fs.rm_file(name)
