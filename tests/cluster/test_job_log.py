"""Tests of how a log is printed once, although every new connection sends it from its beginning."""

import asyncio

import pytest

from cxr_ray.cluster import job_log
from cxr_ray.cluster.job_log import PrintedLog

TEXT = "first\n\nzweite é\nthird\nno end"


async def chunks(text, size, *, breaks=False):
    for start in range(0, len(text), size):
        yield text[start : start + size]
    if breaks:
        raise ConnectionResetError


@pytest.mark.parametrize("size", [1, 4, 7, 100])
def test_each_line_is_printed_once_over_broken_connections(size):
    lines = []
    printed = PrintedLog(lines.append)
    for length in (0, 3, 9, 9, 20):
        with pytest.raises(ConnectionResetError):
            asyncio.run(printed.read(chunks(TEXT[:length], size, breaks=True)))
    asyncio.run(printed.read(chunks(TEXT, size + 1)))
    assert lines == TEXT.split("\n")[:-1]
    printed.end()
    printed.end()
    assert lines == TEXT.split("\n")


def test_a_silent_connection_is_given_up(monkeypatch):
    async def silent():
        yield "line\n"
        await asyncio.sleep(60)

    monkeypatch.setattr(job_log, "SILENCE_S", 0.05)
    lines = []
    with pytest.raises(TimeoutError):
        asyncio.run(PrintedLog(lines.append).read(silent()))
    assert lines == ["line"]
