"""Storage that cannot be used is refused in one line that names the fix, before a job starts."""

import logging
import os
import time
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

import boto3
import pytest

from cxr_ray.archive import storage_check
from cxr_ray.archive.storage_check import check_objects, check_storage
from cxr_ray.archive.uris import join_uri, open_filesystem, write_bytes
from cxr_ray.errors import StorageError


def refusal_of(read, write):
    """The one line with which storage is refused, within 15 seconds."""
    began = time.monotonic()
    with pytest.raises(StorageError) as refused:
        check_storage(read=[read] if read else [], write=write)
    assert time.monotonic() - began < 15
    assert "\n" not in str(refused.value)
    return str(refused.value)


@contextmanager
def server(answer, monkeypatch):
    """A store on loopback that gives the same answer to every request: a status and a code, or none ever."""
    end = Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            if answer is None:
                end.wait(30)
                return
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = answer
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("x-amz-bucket-region", "eu-west-1")
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body.encode())

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = answer  # noqa: N815

        def log_message(self, *_):
            """Print nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    httpd.daemon_threads = True
    Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{httpd.server_port}")
    try:
        yield
    finally:
        end.set()
        httpd.shutdown()
        httpd.server_close()


def test_storage_that_works_is_left_as_it_was(bucket_uri, tmp_path, caplog):
    (tmp_path / "in").mkdir()
    write_bytes(join_uri(bucket_uri, "in", "a.png"), b"content")
    with caplog.at_level(logging.WARNING, "cxr_ray"):
        check_storage(read=[join_uri(bucket_uri, "in")], write=join_uri(bucket_uri, "out"))
        check_storage(read=[str(tmp_path / "in"), str(tmp_path / "nowhere")], write=str(tmp_path / "out"))
    assert not [record for record in caplog.records if record.name == "cxr_ray"]
    fs, path = open_filesystem(bucket_uri)
    assert fs.find(path) == [f"{path}/in/a.png"]
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == []


def test_a_bucket_that_does_not_exist_is_named_and_not_made(s3):
    for read, write in (("s3://nowhere-1/in", "s3://nowhere-1/out"), (None, "s3://nowhere-1/out")):
        assert "the bucket does not exist there" in refusal_of(read, write)
    assert not open_filesystem("s3://nowhere-1")[0].exists("nowhere-1")


@contextmanager
def permissions_checked(endpoint):
    """Let the server check keys and permissions, as a real store does."""

    def ask(count):
        asked = urllib.request.Request(
            f"{endpoint}/moto-api/reset-auth", str(count).encode(), {"Content-Type": "text/plain"}
        )
        urllib.request.urlopen(asked, timeout=5).close()

    ask(0)
    try:
        yield
    finally:
        ask("inf")


def test_wrong_keys_and_missing_permissions_are_named(bucket_uri, s3, monkeypatch):
    iam = boto3.client("iam", endpoint_url=s3)
    user = f"reader{os.getpid()}"
    iam.create_user(UserName=user)
    keys = iam.create_access_key(UserName=user)["AccessKey"]
    reading = '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}]}'
    iam.put_user_policy(UserName=user, PolicyName="read", PolicyDocument=reading)
    write_bytes(join_uri(bucket_uri, "in", "a.png"), b"content")
    with permissions_checked(s3):
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "unknown")
        assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refusal_of(join_uri(bucket_uri, "in"), bucket_uri)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
        assert "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in refusal_of(join_uri(bucket_uri, "in"), bucket_uri)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
        line = refusal_of(join_uri(bucket_uri, "in"), join_uri(bucket_uri, "out"))
        assert line.startswith(f"cannot write {bucket_uri}/out: ")
        assert "the key has no permission for that" in line


ERROR = "<?xml version='1.0'?><Error><Code>{}</Code><Message>It failed</Message>{}</Error>"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("status", "code", "more", "fix"),
    [
        (403, "RequestTimeTooSkewed", "", "the clock of this machine says "),
        (403, "InvalidAccessKeyId", "", "check AWS_ACCESS_KEY_ID"),
        (400, "ExpiredToken", "", "renew AWS_SESSION_TOKEN"),
        (403, "AccessDenied", "", "the key has no permission for that"),
        (400, "AuthorizationHeaderMalformed", "<Region>eu-west-1</Region>", "set AWS_DEFAULT_REGION to it (eu-west-1)"),
        (301, "PermanentRedirect", "", "the bucket lies in another region"),
        (503, "SlowDown", "", "the store is overloaded"),
        (500, "InternalError", "", "the store is overloaded or fails"),
        (418, "Teapot", "", "check the URI, the credentials and the permissions"),
    ],
)
def test_the_code_of_the_store_decides_what_to_do(s3, monkeypatch, status, code, more, fix):
    with server((status, ERROR.format(code, more)), monkeypatch):
        assert fix in refusal_of("s3://bucket/in" if code != "InternalError" else None, "s3://bucket/out")


@pytest.mark.slow
def test_an_endpoint_at_which_nothing_or_nobody_answers_is_named(s3, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    assert "nothing answers there: check AWS_ENDPOINT_URL" in refusal_of("s3://bucket/in", "s3://bucket/out")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://no-such-host.invalid")
    assert "nothing answers there: check AWS_ENDPOINT_URL" in refusal_of("s3://bucket/in", "s3://bucket/out")
    monkeypatch.setattr(storage_check, "MOST_SECONDS", 2.0)
    with server(None, monkeypatch):
        assert "no answer within 2 s; check the address in AWS_ENDPOINT_URL" in refusal_of(
            "s3://bucket/in", "s3://bucket/out"
        )


def test_a_store_that_ignores_conditional_writes_is_named(bucket_uri, monkeypatch, caplog):
    """The client leaves the condition out, which a store that ignores it cannot tell from a client that sends it."""
    from s3fs import S3FileSystem

    pipe = S3FileSystem._pipe_file

    async def unconditional(fs, path, value, mode=None):
        await pipe(fs, path, value)

    monkeypatch.setattr(S3FileSystem, "_pipe_file", unconditional)
    with caplog.at_level(logging.WARNING, "cxr_ray"):
        check_storage(read=[], write=bucket_uri)
    assert [record.message for record in caplog.records if record.name == "cxr_ray"] == [
        f"the store of {bucket_uri} does not honour conditional writes; start jobs on the same output one after the other"
    ]


def test_a_full_or_read_only_disk_is_named(tmp_path):
    assert "cannot write /proc/nowhere: " in refusal_of(None, "/proc/nowhere")
    (tmp_path / "file").touch()
    assert refusal_of(None, str(tmp_path / "file" / "out")).startswith(f"cannot write {tmp_path}/file/out: ")


def test_objects_that_are_gone_are_no_failure_and_one_that_can_be_read_suffices(bucket_uri, s3, monkeypatch):
    check_objects([join_uri(bucket_uri, "gone.png"), "/nowhere/at/all.png"])
    with server((403, ERROR.format("AccessDenied", "")), monkeypatch):
        with pytest.raises(StorageError, match=r"^cannot read s3://bucket/a.png: .*the key has no permission"):
            check_objects(["s3://bucket/a.png", "s3://bucket/b.png"])
        check_objects(["s3://bucket/a.png", "/nowhere/at/all.png"])
