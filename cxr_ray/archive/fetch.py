"""Download objects into memory with many requests in flight; each object has its own outcome."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from fsspec import AbstractFileSystem

from cxr_ray.archive.uris import one_line, open_filesystem
from cxr_ray.config.redaction import redacted
from cxr_ray.errors import StorageError

_ESCAPED = re.compile(r"\\x[0-9a-f]{2}")
"""How a listing writes bytes of a name that are not UTF-8."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Fetched:
    """Bytes of an object, or the error that prevented the download; exactly one of `data` and `error_kind` is not None."""

    data: bytes | None = None
    error_kind: str | None = None
    """`not_found`, `forbidden` or `download_failed`."""
    error: str | None = None
    """Reason of the failure in one line, without secrets of URLs; None for a downloaded object."""


def fetch_objects(uris: Sequence[str], *, first_bytes: int | None = None) -> list[Fetched]:
    """Download every object, or its first `first_bytes` bytes; the results have the order of `uris`.

    A failure of the storage is an outcome; any other exception is a fault of this program, and is raised.

    All requests of one call are in flight together, up to the size of the filesystem's connection pool. The filesystem
    retries temporary failures, such as S3's 503 and SlowDown. A failure of one object does not affect the others.
    """
    outcomes: list[Fetched] = [Fetched(data=b"")] * len(uris)
    by_filesystem: dict[AbstractFileSystem, dict[int, str]] = {}
    for position, uri in enumerate(uris):
        try:
            fs, path = open_filesystem(uri)
        except (StorageError, OSError) as error:
            outcomes[position] = Fetched(error_kind="download_failed", error=f"cannot open {uri}: {one_line(error)}")
        else:
            by_filesystem.setdefault(fs, {})[position] = path
    for fs, path_at in by_filesystem.items():
        paths = list(path_at.values())
        # cat_ranges is used because cat() would read `[` and `*` in a name as a pattern
        start = None if first_bytes is None else 0
        results = fs.cat_ranges(paths, [start] * len(paths), [first_bytes] * len(paths), on_error="return")
        for position, result in zip(path_at, results, strict=True):
            outcomes[position] = _outcome(result, uris[position])
    return [replace(outcome, error=outcome.error and redacted(outcome.error)) for outcome in outcomes]


def _outcome(result: bytes | Exception, uri: str) -> Fetched:
    match result:
        case bytes():
            return Fetched(data=result)
        case FileNotFoundError() | NotADirectoryError():
            hint = "; rename the file: its name is not UTF-8, which no table can hold" if _ESCAPED.search(uri) else ""
            return Fetched(error_kind="not_found", error=f"no object at {uri}{hint}")
        case PermissionError():
            return Fetched(error_kind="forbidden", error=f"no permission to read {uri}: {one_line(result)}")
        case ValueError() if "\0" in uri:
            return Fetched(error_kind="not_found", error=f"no object at {uri!r}: no name holds the character NUL")
        case _ if (
            isinstance(result, OSError | ValueError) or type(result).__module__ != "builtins"
        ):  # libraries raise their own types, and ValueError for what is no URL
            return Fetched(error_kind="download_failed", error=f"cannot read {uri}: {one_line(result)}")
        case _:
            raise result
