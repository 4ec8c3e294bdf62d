"""List the objects of a bucket in the order of their keys; where a prefix has a few folders, those are listed together.

A page of a listing has at most 1,000 keys and can only be asked for after the one before it, so a folder of a million
objects takes a thousand answers, one after the other.
"""

import pickle
import tempfile
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from threading import Event
from typing import IO, Any

from cxr_ray.errors import StorageError

FOLDERS_AT_ONCE = 16
"""Number of folders that are listed at the same time."""
MOST_FOLDERS = 256
"""Number of folders of a prefix above which they are listed in one stream, because each needs a request of its own."""
_IN_MEMORY = 2**20
"""Bytes of the listing of a folder above which it waits on disk for its turn."""

Item = tuple[str, int, datetime, str]
"""Key, size in bytes, time of the last change, and ETag without quotes, of an object."""


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket of a store.

    Attributes:
        fs: filesystem of s3fs.
        name: name of the bucket.
    """

    fs: Any
    name: str

    def items(self, prefix: str) -> Iterator[Item]:
        """Yield all objects whose keys start with `prefix`, sorted by the UTF-8 bytes of their keys.

        Raises:
            OSError: if the store refuses or does not answer.
        """
        page = self._page(prefix)
        entries = self._entries(prefix) if page.get("IsTruncated") else None
        if entries is None:
            yield from self._following(prefix, page)
        else:
            yield from self._together(entries)

    def _entries(self, prefix: str) -> list[Item | str] | None:
        """Objects and folders (as their prefixes) directly below a prefix, in order; None unless the folders are few."""
        page = self._page(prefix, Delimiter="/")
        folders = [found["Prefix"] for found in page.get("CommonPrefixes", ())]
        if page.get("IsTruncated") or not 0 < len(folders) <= MOST_FOLDERS:
            return None
        return sorted([*folders, *_items_of(page)], key=lambda one: (one if isinstance(one, str) else one[0]).encode())

    def _together(self, entries: list[Item | str]) -> Iterator[Item]:
        """Yield objects, and the content of folders; the folders after the first are listed in the meantime."""
        waiting, stop = deque(entry for entry in entries if isinstance(entry, str)), Event()
        first, coming = waiting.popleft(), dict[str, Future[IO[bytes]]]()
        with ThreadPoolExecutor(FOLDERS_AT_ONCE, thread_name_prefix="listing") as pool:
            try:
                for entry in entries:
                    while waiting and len(coming) < FOLDERS_AT_ONCE:
                        folder = waiting.popleft()
                        coming[folder] = pool.submit(self._spooled, folder, stop)
                    if not isinstance(entry, str):
                        yield entry
                    elif entry == first:
                        yield from self.items(entry)
                    else:
                        with coming.pop(entry).result() as file:
                            yield from _unspooled(file)
            finally:
                stop.set()  # a caller may want only the first objects
                pool.shutdown(cancel_futures=True)

    def _spooled(self, folder: str, stop: Event) -> IO[bytes]:
        """List a folder into a temporary file."""
        file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115 - its reader closes it
        page = self._page(folder)
        _add(page, file)
        while page.get("IsTruncated") and not stop.is_set():
            page = self._page(folder, ContinuationToken=page["NextContinuationToken"])
            _add(page, file)
        file.seek(0)
        return file

    def _following(self, prefix: str, page: dict[str, Any]) -> Iterator[Item]:
        """Yield the objects of a page and of all pages after it."""
        yield from _items_of(page)
        while page.get("IsTruncated"):
            page = self._page(prefix, ContinuationToken=page["NextContinuationToken"])
            yield from _items_of(page)

    def _page(self, prefix: str, **options: str) -> dict[str, Any]:
        page: dict[str, Any] = self.fs.call_s3("list_objects_v2", Bucket=self.name, Prefix=prefix, **options)
        return page


def _items_of(page: dict[str, Any]) -> list[Item]:
    return [
        (item["Key"], item["Size"], item["LastModified"], item.get("ETag", "").strip('"'))
        for item in page.get("Contents", ())
    ]


def _add(page: dict[str, Any], file: IO[bytes]) -> None:
    try:
        pickle.dump(_items_of(page), file)
    except OSError as error:
        raise StorageError(
            f"a listing does not fit in {tempfile.gettempdir()}: {error.strerror}; make room there, or name another folder in TMPDIR"
        ) from error


def _unspooled(file: IO[bytes]) -> Iterator[Item]:
    """Read what `_spooled` wrote, which nobody else can have changed."""
    while True:
        try:
            items: list[Item] = pickle.load(file)  # noqa: S301
        except EOFError:
            return
        yield from items
