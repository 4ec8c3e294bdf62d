"""Weights are downloaded once per node, whole or not at all, and again only when the object has changed."""

import hashlib
import os
import pickle
import subprocess
import sys
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from cxr_ray.archive.uris import delete_tree, write_bytes
from cxr_ray.errors import BundleError, StorageError
from cxr_ray.models.weights_cache import OtherWeightsError, Weights, fetch_weights, is_folder, weights_sha256

DATA, OTHER = b"weights" * 1000, b"WEIGHTS" * 1000


def sha256_of(data):
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def memory_uri():
    """URI of an object on a filesystem that is not this machine's disk."""
    uri = f"memory://weights/{uuid.uuid4().hex}/sam.pth"
    write_bytes(uri, DATA)
    return uri


def kept(cache):
    return sorted(path.name for path in cache.rglob("*.bin"))


class WebStore(BaseHTTPRequestHandler):
    """Handler that serves `server.data` at any path and counts the downloads."""

    def do_HEAD(self):
        self._head(len(self.server.data) + self.server.missing)

    def do_GET(self):
        self.server.downloads += 1
        self.server.before_download()
        data = self.server.data
        self._head(len(data))
        half = len(data) // 2
        self.wfile.write(data[:half])
        if self.server.stall is not None:
            self.server.stalled.set()
            self.server.stall.wait(60)
        self.wfile.write(data[half:])

    def _head(self, length):
        self.send_response(200)
        self.send_header("Content-Length", str(length))
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Accept-Ranges", "none")
        if self.server.has_etags:
            self.send_header("ETag", f'"{sha256_of(self.server.data)[:8]}"')
        self.end_headers()

    def log_message(self, *arguments):
        pass


class WebServer(ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        """Ignore a client that was killed, which is not a failure of the server."""


@pytest.fixture
def web():
    server = WebServer(("127.0.0.1", 0), WebStore)
    server.data, server.missing, server.downloads, server.has_etags = DATA, 0, 0, True
    server.stall, server.stalled, server.before_download = None, threading.Event(), lambda: None
    server.uri = f"http://127.0.0.1:{server.server_address[1]}/sam.pth"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetching_process(uri):
    code = (
        "import sys; from cxr_ray.models.weights_cache import fetch_weights; print(fetch_weights(sys.argv[1]).sha256)"
    )
    return subprocess.Popen([sys.executable, "-c", code, uri], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_file_of_this_machine_is_read_in_place(tmp_path, cache, scheme):
    (tmp_path / "sam.pth").write_bytes(DATA)
    uri = f"{scheme}{tmp_path}/sam.pth"
    for wanted in (None, sha256_of(DATA), sha256_of(DATA).upper()):
        weights = fetch_weights(uri, wanted)
        assert (weights.data, weights.sha256) == (DATA, sha256_of(DATA))
    assert weights_sha256(uri) == sha256_of(DATA)
    (tmp_path / "sam.pth").write_bytes(OTHER)
    assert fetch_weights(uri).sha256 == weights_sha256(uri) == sha256_of(OTHER)
    assert not cache.exists()


def test_a_node_that_has_the_file_of_a_sha256_does_not_ask_the_storage(memory_uri, cache):
    assert fetch_weights(memory_uri, sha256_of(DATA)).data == DATA
    delete_tree(memory_uri)
    assert fetch_weights(memory_uri, sha256_of(DATA)).data == DATA
    assert kept(cache) == [f"{sha256_of(DATA)}.bin"]


def test_an_unchanged_object_is_downloaded_once_and_a_changed_one_again(web, cache):
    for data in (DATA, OTHER):
        web.data, web.downloads = data, 0
        assert weights_sha256(web.uri) == sha256_of(data)
        for _ in range(2):
            weights = fetch_weights(web.uri)
            assert (weights.data, weights.sha256) == (data, sha256_of(data))
        assert fetch_weights(web.uri, sha256_of(data)).data == data
        assert weights_sha256(web.uri) == sha256_of(data)
        assert web.downloads == 1
    assert kept(cache) == sorted(f"{sha256_of(data)}.bin" for data in (DATA, OTHER))


def test_a_sha256_stays_known_when_the_file_is_gone(web, cache):
    fetch_weights(web.uri)
    next(cache.rglob("*.bin")).unlink()
    assert weights_sha256(web.uri) == sha256_of(DATA)
    assert web.downloads == 1
    assert fetch_weights(web.uri).data == DATA
    assert web.downloads == 2


def test_without_a_checksum_or_a_time_every_call_downloads(web):
    web.has_etags = False
    for data in (DATA, OTHER):
        web.data = data
        assert fetch_weights(web.uri).data == data
        assert weights_sha256(web.uri) == sha256_of(data)
    assert web.downloads == 4


@pytest.mark.slow
def test_processes_of_a_node_that_start_together_download_once(web):
    processes = [fetching_process(web.uri) for _ in range(3)]
    assert [process.communicate(timeout=60)[0].strip() for process in processes] == 3 * [sha256_of(DATA)]
    assert web.downloads == 1


@pytest.mark.parametrize(
    ("read", "expected"),
    [
        (fetch_weights, Weights(DATA, sha256_of(DATA))),
        (partial(fetch_weights, sha256=sha256_of(DATA)), Weights(DATA, sha256_of(DATA))),
        (weights_sha256, sha256_of(DATA)),
    ],
)
def test_threads_that_start_together_download_once(web, read, expected):
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(read, 8 * [web.uri])) == 8 * [expected]
    assert web.downloads == 1


def test_a_download_that_was_killed_starts_again(web, cache):
    web.stall = threading.Event()
    process = fetching_process(web.uri)
    assert web.stalled.wait(60)
    process.kill()
    process.wait()
    web.stall.set()
    assert kept(cache) == []
    assert fetch_weights(web.uri).data == DATA
    assert web.downloads == 2


def test_an_object_that_breaks_off_is_refused_and_not_kept(web, cache):
    web.missing = 5
    for read in (fetch_weights, weights_sha256):
        with pytest.raises(StorageError, match=f"cannot read {web.uri}: it broke off after 7000 of 7005 bytes; try"):
            read(web.uri)
    assert [path.name for path in cache.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_an_object_replaced_during_its_download_and_put_back_is_downloaded_again(web):
    def replace():
        web.data = OTHER

    web.before_download = replace
    assert fetch_weights(web.uri).data == OTHER
    web.data, web.before_download = DATA, lambda: None
    assert fetch_weights(web.uri).data == DATA


@pytest.mark.parametrize("known", [True, False])
def test_a_damaged_file_in_the_cache_is_downloaded_again(memory_uri, cache, known):
    wanted = sha256_of(DATA) if known else None
    fetch_weights(memory_uri, wanted)
    (path,) = cache.rglob("*.bin")
    for damaged in (DATA[:-3], b"", OTHER):
        path.write_bytes(damaged)
        assert fetch_weights(memory_uri, wanted).data == DATA
        assert path.read_bytes() == DATA


@pytest.mark.parametrize("record", [b"", b"null", b"{", b'{"uri": "", "identity": {}, "sha256": "../../passwd"}'])
def test_a_damaged_record_is_written_again(web, cache, record):
    fetch_weights(web.uri)
    (path,) = cache.rglob("*.json")
    whole = path.read_bytes()
    path.write_bytes(record)
    assert weights_sha256(web.uri) == sha256_of(DATA)
    assert path.read_bytes() == whole
    assert web.downloads == 2


@pytest.mark.parametrize("where", ["disk", "memory"])
def test_another_file_is_refused_and_not_kept(where, memory_uri, tmp_path, cache):
    (tmp_path / "sam.pth").write_bytes(DATA)
    uri = memory_uri if where == "memory" else str(tmp_path / "sam.pth")
    with pytest.raises(
        OtherWeightsError, match=f"sha256 is {sha256_of(DATA)}, not {'0' * 64}; put the right"
    ) as caught:
        fetch_weights(uri, "0" * 64)
    assert str(caught.value).startswith(f"{uri} is not the expected file: its")
    assert "\n" not in str(caught.value)
    assert kept(cache) == []
    returned = pickle.loads(pickle.dumps(caught.value))  # as it travels between processes of a cluster
    assert (str(returned), returned.found) == (str(caught.value), sha256_of(DATA))


@pytest.mark.parametrize("sha256", ["", "abc", "../../passwd", "g" * 64, "0" * 65])
def test_a_malformed_sha256_is_refused(memory_uri, sha256):
    with pytest.raises(BundleError, match=f"the sha256 of {memory_uri} must be 64 hex digits; got '"):
        fetch_weights(memory_uri, sha256)


@pytest.mark.parametrize("read", [fetch_weights, weights_sha256])
def test_a_uri_that_is_not_a_file_is_refused_in_one_line(read, memory_uri, tmp_path):
    folder = memory_uri.rpartition("/")[0]
    for uri in (f"{folder}/none.pth", str(tmp_path / "none.pth"), folder, str(tmp_path)):
        with pytest.raises(StorageError, match=f"cannot read {uri}: .*; check the URI") as caught:
            read(uri)
        assert "\n" not in str(caught.value)
    assert is_folder(folder)
    assert not is_folder(memory_uri)


@pytest.mark.parametrize("read", [fetch_weights, weights_sha256])
def test_a_cache_that_cannot_be_written_is_named(read, memory_uri, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(
        BundleError, match=r"cannot be cached in .*/file/cxr_ray/weights: .*another folder in XDG_CACHE"
    ):
        read(memory_uri)


def test_an_empty_cache_variable_means_the_default_folder(memory_uri, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert fetch_weights(memory_uri).data == DATA
    assert kept(tmp_path / ".cache" / "cxr_ray" / "weights") == [f"{sha256_of(DATA)}.bin"]
    assert not (tmp_path / "cxr_ray").exists()


@pytest.mark.s3
def test_an_object_of_s3_is_downloaded_once_and_a_changed_one_again(bucket_uri, cache):
    uri = f"{bucket_uri}/models/sam #1.pth"
    for data in (DATA, OTHER):
        write_bytes(uri, data)
        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda _: fetch_weights(uri).data, range(4))) == 4 * [data]
        path = next(cache.rglob(f"{sha256_of(data)}.bin"))
        downloaded = os.stat(path).st_ino, os.stat(path).st_mtime_ns
        assert fetch_weights(uri).data == data
        assert weights_sha256(uri) == sha256_of(data)
        assert (os.stat(path).st_ino, os.stat(path).st_mtime_ns) == downloaded
    delete_tree(uri)
    assert fetch_weights(uri, sha256_of(OTHER)).data == OTHER
    with pytest.raises(StorageError, match=f"cannot read {uri}"):
        fetch_weights(uri)


@pytest.mark.s3
def test_a_folder_of_s3_is_refused(bucket_uri):
    write_bytes(f"{bucket_uri}/models/sam.pth", DATA)
    assert is_folder(f"{bucket_uri}/models")
    with pytest.raises(StorageError, match=f"cannot read {bucket_uri}/models: it is a folder; check the URI"):
        fetch_weights(f"{bucket_uri}/models")
