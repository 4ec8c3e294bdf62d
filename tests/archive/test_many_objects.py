import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

JOB = Path(__file__).parents[2] / "jobs" / "index_archive.py"
PAGE = 1000
BYTES_PER_OBJECT = 600  # as rows of Arrow that are sorted; as dictionaries of Python they take more than 1000
RUN_AND_REPORT_PEAK = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, *sys.argv[1:]]).returncode
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


class _EndlessBucket(BaseHTTPRequestHandler):
    """An S3 server with only ListObjectsV2, over a bucket whose keys are computed and not stored."""

    protocol_version = "HTTP/1.1"
    objects = 0

    def do_HEAD(self) -> None:
        self._answer(404, b"")

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        first = int(query.get("continuation-token", ["0"])[0])
        last = min(first + int(query.get("max-keys", [PAGE])[0]), self.objects)
        contents = "".join(
            f"<Contents><Key>archive/{n // 1000:04}/chest+{n:07}.png</Key><LastModified>2024-05-06T07:08:09.000Z"
            f"</LastModified><ETag>&quot;{n:032x}&quot;</ETag><Size>{n + 1}</Size></Contents>"
            for n in range(first, last)
        )
        more = last < self.objects
        token = f"<NextContinuationToken>{last}</NextContinuationToken>" if more else ""
        page = (
            '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>bucket</Name><Prefix>archive/</Prefix><EncodingType>url</EncodingType><KeyCount>{last - first}"
            f"</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
        )
        self._answer(200, page.encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Write no line to the log."""


@pytest.fixture
def endless_bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_EndlessBucket]]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _EndlessBucket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    yield _EndlessBucket
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_many_objects_are_listed_in_little_memory(endless_bucket: type[_EndlessBucket], tmp_path: Path):
    few, peak_of_few = index(endless_bucket, tmp_path, objects=1000)
    many, peak_of_many = index(endless_bucket, tmp_path, objects=250_000)
    assert (few.num_rows, many.num_rows) == (1000, 250_000)
    ids = many["image_id"].combine_chunks()
    assert ids[-1].as_py() == "0249/chest 0249999.png"
    assert pc.all(pc.less(ids[:-1], ids[1:])).as_py()
    assert (peak_of_many - peak_of_few) / 249_000 < BYTES_PER_OBJECT


def index(bucket: type[_EndlessBucket], folder: Path, *, objects: int) -> tuple[pa.Table, int]:
    """Index a bucket of so many objects in a process of its own; its manifest, and its peak memory in bytes."""
    bucket.objects = objects
    manifest = folder / f"{objects}.parquet"
    places = ["--input-uri", "s3://bucket/archive", "--output-uri", str(manifest)]
    run = subprocess.run(
        [sys.executable, "-c", RUN_AND_REPORT_PEAK, str(JOB), *places, "--recognise", "name"],
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert f"{objects:,} images" in run.stdout
    return pq.read_table(manifest, columns=["image_id"]), 1024 * int(run.stdout.split("peak")[1])
