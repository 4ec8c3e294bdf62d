"""Objects of a bucket come in the order of their keys, whichever way they are listed."""

import threading
from itertools import islice

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_ray.archive import s3_listing
from cxr_ray.archive.s3_listing import Bucket
from cxr_ray.archive.uris import open_filesystem

pytestmark = pytest.mark.s3


class SmallPages:
    """A filesystem whose store gives pages of three keys (of twenty folders), and counts those asked for, and together."""

    def __init__(self, fs):
        self._fs, self._lock, self.asked, self._now, self.together = fs, threading.Lock(), 0, 0, 0

    def call_s3(self, method, **options):
        with self._lock:
            self.asked, self._now = self.asked + 1, self._now + 1
            self.together = max(self.together, self._now)
        try:
            return self._fs.call_s3(method, MaxKeys=20 if "Delimiter" in options else 3, **options)
        finally:
            with self._lock:
                self._now -= 1


def filled(bucket_uri, keys):
    fs, bucket = open_filesystem(bucket_uri)
    for key in keys:
        fs.pipe_file(f"{bucket}/{key}", key.encode())
    return SmallPages(fs), bucket


NAMES = st.text("ab.-é", min_size=1, max_size=2)
KEYS = st.lists(st.lists(NAMES, min_size=1, max_size=3).map("/".join), max_size=12, unique=True)


@given(KEYS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_all_keys_come_once_and_in_order(bucket_uri, keys):
    fs, bucket = open_filesystem(bucket_uri)
    fs.rm(bucket, recursive=True) if fs.find(bucket) else None
    if not fs.exists(bucket):
        fs.mkdir(bucket)
    small, bucket = filled(bucket_uri, keys)
    items = list(Bucket(small, bucket).items(""))
    assert [key for key, *_ in items] == sorted(keys, key=str.encode)
    assert [size for _, size, _, _ in items] == [len(key.encode()) for key, *_ in items]


def test_folders_are_listed_together(bucket_uri, monkeypatch):
    keys = [f"in/{folder}/images/{number}.png" for folder in ("COVID", "Normal", "Viral") for number in range(9)]
    small, bucket = filled(bucket_uri, [*keys, "in/a.png", "in/Normal.png", "out/b.png"])
    found = [key for key, *_ in Bucket(small, bucket).items("in/")]
    assert found == sorted([*keys, "in/a.png", "in/Normal.png"])
    assert small.together >= 2
    monkeypatch.setattr(s3_listing, "MOST_FOLDERS", 2)
    small, bucket = filled(bucket_uri, [])
    assert [key for key, *_ in Bucket(small, bucket).items("in/")] == found
    assert small.together == 1


def test_who_wants_the_first_object_lists_no_archive(bucket_uri):
    small, bucket = filled(bucket_uri, [f"{folder}/{number}.png" for folder in "abcd" for number in range(30)])
    items = Bucket(small, bucket).items("")
    assert [key for key, *_ in islice(items, 1)] == ["a/0.png"]
    items.close()
    assert small.asked < 20


def test_a_failure_in_a_folder_that_is_listed_ahead_is_raised(bucket_uri):
    small, bucket = filled(bucket_uri, [f"{folder}/{number}.png" for folder in "ab" for number in range(9)])
    call = small.call_s3

    def refusing(method, **options):
        if options["Prefix"].startswith("b/"):
            raise PermissionError("Access Denied")
        return call(method, **options)

    small.call_s3 = refusing
    with pytest.raises(PermissionError):
        list(Bucket(small, bucket).items(""))
