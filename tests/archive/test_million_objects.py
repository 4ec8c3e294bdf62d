import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

JOB = Path(__file__).parents[2] / "jobs" / "index_archive.py"
OBJECTS = 1_000_000
PAGE = 1000
RUN_AND_REPORT_PEAK = """
import resource, subprocess, sys
code = subprocess.run([sys.executable, *sys.argv[1:]]).returncode
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


class _EndlessBucket(BaseHTTPRequestHandler):
    """An S3 server with only ListObjectsV2, over a bucket whose keys are computed and not stored."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer(404, b"")

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        first = int(query.get("continuation-token", ["0"])[0])
        last = min(first + int(query.get("max-keys", [PAGE])[0]), OBJECTS)
        contents = "".join(
            f"<Contents><Key>archive/{n // 1000:04}/chest+{n:07}.png</Key><LastModified>2024-05-06T07:08:09.000Z"
            f"</LastModified><ETag>&quot;{n:032x}&quot;</ETag><Size>{n + 1}</Size></Contents>"
            for n in range(first, last)
        )
        more = last < OBJECTS
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
def endless_bucket() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _EndlessBucket)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.slow
def test_a_million_objects_are_listed_in_constant_memory(endless_bucket: str, tmp_path: Path):
    keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
    places = ["--input-uri", "s3://bucket/archive", "--output-uri", str(tmp_path / "manifest.parquet")]
    run = subprocess.run(
        [sys.executable, "-c", RUN_AND_REPORT_PEAK, str(JOB), *places, "--recognise", "name"],
        env=os.environ | keys | {"AWS_ENDPOINT_URL": endless_bucket},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "1,000,000 images" in run.stdout
    peak_kib = int(run.stdout.split("peak")[1])
    assert peak_kib < 1_000_000
    ids = pq.read_table(tmp_path / "manifest.parquet", columns=["image_id"])["image_id"].combine_chunks()
    assert len(ids) == OBJECTS
    assert ids[-1].as_py() == "0999/chest 0999999.png"
    assert pc.all(pc.less(ids[:-1], ids[1:])).as_py()
