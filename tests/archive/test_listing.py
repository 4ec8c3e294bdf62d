import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec import filesystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.archive.listing import list_objects
from cxr_ray.archive.uris import join_uri, open_filesystem, write_bytes
from cxr_ray.errors import StorageError

# Pairs whose order would differ if folders came first, or by case, by locale, or by UTF-16.
NAMES = [
    "A.png", "a b/#1.png", "a/1.png", "a/10.png", "a/2.png", "a+b.png", "a-b.png", "a.png", "a/[x]*?.png", "a//b.png", "a/é.png",
    "ab/1.png", "b/50%.png", "b/%41.png", "b/~t", "e\u0301.png", "é.png", "日本.png", "\uffee.png", "\U0001f600.png",
]  # fmt: skip


def by_utf8(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: name.encode())


def put(prefix: str, names: list[str]) -> None:
    for name in names:
        write_bytes(join_uri(prefix, name), name.encode())


def names_of(uri: str) -> list[str]:
    return [entry.name for entry in list_objects(uri)]


@pytest.fixture
def memory_uri() -> Iterator[str]:
    name = uuid.uuid4().hex
    yield f"memory://{name}"
    filesystem("memory").store.clear()


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3), "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty archive on each kind of storage, whose own name has special characters too."""
    if request.param == "local":
        return f"{tmp_path}/arch [1] #2 é%20"
    return f"{request.getfixturevalue('bucket_uri' if request.param == 's3' else 'memory_uri')}/arch [1] #2 é%20"


@pytest.mark.slow
def test_names_round_trip_in_the_order_of_their_utf8_bytes(place):
    names = [name for name in NAMES if "//" not in name]
    put(place, names)
    listed = list(list_objects(place))
    assert [entry.name for entry in listed] == by_utf8(names)
    assert [entry.uri for entry in listed] == [f"{place}/{entry.name}" for entry in listed]
    assert [entry.size_bytes for entry in listed] == [len(entry.name.encode()) for entry in listed]
    assert all(entry.modified is not None and entry.modified.tzinfo is not None for entry in listed)
    assert [outcome.data for outcome in fetch_objects([entry.uri for entry in listed])] == [
        entry.name.encode() for entry in listed
    ]


def test_a_prefix_is_a_folder_and_not_the_start_of_a_name(place):
    put(place, ["a/1.png", "ab/1.png", "a.png", "a-1/1.png"])
    assert names_of(f"{place}/a") == names_of(f"{place}/a/") == ["1.png"]


def test_a_prefix_that_is_one_object(place):
    put(place, ["a/x #1.png", "a/x #1.png.bak"])
    (entry,) = list_objects(f"{place}/a/x #1.png")
    assert (entry.name, entry.uri, entry.size_bytes) == ("x #1.png", f"{place}/a/x #1.png", 10)


def test_hidden_objects_are_passed_over(place):
    put(place, [".DS_Store", "a/.b.png", ".git/c.png", "a/..png", "a/1.png"])
    assert names_of(place) == ["a/1.png"]


def test_nothing_is_an_error_that_names_it(place):
    put(place, ["a/1.png"])
    with pytest.raises(StorageError, match=r"(nothing exists at .*/none; check|none is empty; name the folder)"):
        names_of(f"{place}/none")


@pytest.mark.slow
@pytest.mark.s3
def test_a_whole_bucket_with_keys_that_are_no_paths(bucket_uri):
    names = [*NAMES, "a//b.png", "/lead.png"]
    put(bucket_uri, names)
    fs, bucket = open_filesystem(bucket_uri)
    fs.call_s3("put_object", Bucket=bucket, Key="a/folder/", Body=b"")
    for uri in (bucket_uri, bucket_uri + "/"):
        listed = list(list_objects(uri))
        assert [entry.name for entry in listed] == by_utf8(list(set(names)))
        assert [outcome.data for outcome in fetch_objects([e.uri for e in listed])] == [e.name.encode() for e in listed]
    assert all(len(entry.etag or "") >= 32 for entry in listed)


@pytest.mark.s3
@pytest.mark.slow
def test_pages_of_s3_are_one_listing(bucket_uri):
    names = [f"{'é' if n % 3 else 'z'}{n % 7}/img {n}.png" for n in range(1100)]
    fs, bucket = open_filesystem(bucket_uri)
    fs.pipe({f"{bucket}/deep/{name}": b"x" * 2000 for name in names}, batch_size=32)  # the server has one processor
    assert names_of(f"{bucket_uri}/deep") == by_utf8(names)


@pytest.mark.s3
def test_a_missing_bucket_is_named(s3):
    with pytest.raises(StorageError, match="nothing exists at s3://no-such-bucket/x; check the URI"):
        names_of("s3://no-such-bucket/x")
    with pytest.raises(StorageError, match="cannot list s3://: Parameter validation failed: Invalid bucket name"):
        names_of("s3://")


def test_the_root_of_a_memory_filesystem(memory_uri):
    put(memory_uri, ["1.png"])
    (entry,) = (e for e in list_objects("memory://") if e.name.startswith(memory_uri[9:]))
    assert entry.uri.startswith("memory://")
    assert fetch_objects([entry.uri])[0].data == b"1.png"


def test_file_uris_and_relative_paths(tmp_path, monkeypatch):
    put(str(tmp_path), ["a #1/x.png"])
    monkeypatch.chdir(tmp_path)
    assert [e.uri for e in list_objects(f"file://{tmp_path}/a #1")] == [f"file://{tmp_path}/a #1/x.png"]
    assert [e.uri for e in list_objects("a #1")] == ["a #1/x.png"]
    assert [e.uri for e in list_objects(".")] == ["./a #1/x.png"]
    assert all(fetch_objects([uri])[0].data for uri in ("a #1/x.png", "./a #1/x.png", f"file://{tmp_path}/a #1/x.png"))


def test_links_are_followed_and_loops_end(tmp_path):
    put(str(tmp_path), ["a/1.png", "b/2.png", "outside/3.png"])
    archive = tmp_path / "archive"
    archive.mkdir()
    for target in ("a", "b", "outside"):
        shutil.move(tmp_path / target, archive if target != "outside" else tmp_path / "elsewhere")
    (archive / "a" / "up").symlink_to("..")
    (archive / "a" / "here").symlink_to(".")
    (archive / "b" / "to a").symlink_to("../a")
    (archive / "linked").symlink_to("../elsewhere")
    (archive / "file.png").symlink_to("a/1.png")
    assert names_of(str(archive)) == ["a/1.png", "b/2.png", "b/to a/1.png", "file.png", "linked/3.png"]


def test_links_that_lead_nowhere_are_listed(tmp_path):
    put(str(tmp_path), ["file"])
    for name, target in {"dangling.png": "gone", "itself.png": "itself.png", "through file.png": "file/x"}.items():
        (tmp_path / name).symlink_to(target)
    listed = {entry.name: entry for entry in list_objects(str(tmp_path))}
    assert list(listed) == ["dangling.png", "file", "itself.png", "through file.png"]
    assert listed.pop("file").size_bytes == 4
    assert all((entry.size_bytes, entry.modified) == (0, None) for entry in listed.values())
    outcomes = fetch_objects([entry.uri for entry in listed.values()])
    assert [outcome.error_kind for outcome in outcomes] == ["not_found", "download_failed", "not_found"]


def test_pipes_are_passed_over_since_their_reader_would_wait_for_ever(tmp_path):
    put(str(tmp_path), ["1.png"])
    os.mkfifo(tmp_path / "0.png")
    assert names_of(str(tmp_path)) == ["1.png"]


def test_names_that_are_not_utf8_are_shown_as_escapes_and_sorted_as_shown(tmp_path):
    for name in (b"\xff.png", b"a\xe9/1.png", b"a.png", "日.png".encode()):
        path = os.fsencode(tmp_path) + b"/" + name
        os.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH103, PTH120
        with open(path, "wb"):  # noqa: PTH123
            pass
    listed = list(list_objects(str(tmp_path)))
    assert [entry.name for entry in listed] == [r"\xff.png", "a.png", r"a\xe9/1.png", "日.png"]
    assert [entry.uri.encode() for entry in listed] == [f"{tmp_path}/{entry.name}".encode() for entry in listed]


def test_an_archive_whose_own_name_is_not_utf8(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/\xff")
    put(folder, ["1.png"])
    (entry,) = list_objects(folder)
    assert entry.uri.encode().endswith(rb"/\xff/1.png")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list anything")
def test_a_forbidden_folder_is_named(tmp_path):
    put(str(tmp_path), ["a/1.png"])
    (tmp_path / "a").chmod(0)
    with pytest.raises(StorageError, match=r"cannot list .*Permission denied"):
        names_of(str(tmp_path))


# Parts of a path on disk: any text without a slash or NUL that does not start with a dot; lone surrogates are not UTF-8.
PART = st.text(st.characters(blacklist_characters="/\0", blacklist_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda part: not part.startswith(".")
)
NAME = st.lists(PART, min_size=1, max_size=3).map("/".join)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(names=st.sets(NAME, min_size=1, max_size=12))
def test_a_disk_lists_what_sorting_the_names_gives(names, tmp_path):
    folders = {"/".join(name.split("/")[:depth]) for name in names for depth in range(1, name.count("/") + 1)}
    names = names - folders
    archive = tmp_path / uuid.uuid4().hex
    put(str(archive), sorted(names))
    listed = list(list_objects(str(archive)))
    assert [entry.name for entry in listed] == by_utf8(list(names))
    assert [outcome.data for outcome in fetch_objects([e.uri for e in listed])] == [e.name.encode() for e in listed]
