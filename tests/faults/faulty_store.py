"""An S3 server on loopback whose answers fail at a given rate, as those of a busy store and a bad network do."""

import asyncio
import logging
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web
from moto.server import ThreadedMotoServer
from yarl import URL

FAULTS = ("slow_down", "reset_before", "reset_after", "stall", "cut_body", "long_length", "short_length")
"""Names of the faults:

- `slow_down`: the store answers 503 SlowDown and does nothing.
- `reset_before`: the connection is reset and the store has done nothing.
- `reset_after`: the connection is reset and the store has done what it was asked for.
- `stall`: the answer comes `stall_seconds` late.
- `cut_body`: the connection ends in the middle of the body.
- `long_length`: Content-Length is larger than the body, and then the connection ends.
- `short_length`: Content-Length is smaller than the body, and the end of the body is not sent.

The last three need an answer with a body; another answer is reset in their place.
"""
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
WRITES = {"PUT", "POST", "DELETE"}
"""Methods that change what the store holds."""
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}
"""Headers of one connection, which a proxy does not pass on."""


@dataclass
class FaultyStore:
    """An S3 server, and a proxy before it that injects faults.

    Attributes:
        plain: address of the server itself, where nothing fails.
        proxy: address of the proxy.
        faults: how often each fault was injected.
        rate: fraction (0 to 1) of the requests that fail.
        next: faults of the next requests, in their order, in place of random ones; None is no fault.
        stall_seconds: seconds by which a stalled answer is late.
        read_only: True refuses every write at the proxy with 403 AccessDenied.
    """

    plain: str
    proxy: str = ""
    faults: Counter[str] = field(default_factory=Counter)
    rate: float = 0.0
    next: list[str | None] = field(default_factory=list)
    stall_seconds: float = 2.0
    read_only: bool = False


@contextmanager
def faulty_store(seed: int = 0, rate: float = 0.0, *, disturbed: bool = False) -> Iterator[FaultyStore]:
    """Run an S3 server and a proxy that injects a random fault into a fraction `rate` of the requests.

    In the block, the AWS variables of this process point to the server, or to the proxy if `disturbed` is true.
    The order of the faults depends on the seed alone; which request meets them depends on the order of the requests.
    """
    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    store = FaultyStore(plain="http://{}:{}".format(*server.get_host_and_port()), rate=rate)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="faulty-store", daemon=True)
    thread.start()
    proxy = _Proxy(store, random.Random(seed))
    try:
        store.proxy = asyncio.run_coroutine_threadsafe(proxy.start(), loop).result()
        with pytest.MonkeyPatch.context() as environment:
            endpoint = store.proxy if disturbed else store.plain
            for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": endpoint}).items():
                environment.setenv(name, value)
            yield store
    finally:
        asyncio.run_coroutine_threadsafe(proxy.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        server.stop()


class _Proxy:
    """A server that passes requests on to the store, except for the faults that it injects."""

    def __init__(self, store: FaultyStore, chance: random.Random) -> None:
        self._store, self._chance = store, chance

    async def start(self) -> str:
        """Listen on a free port of loopback; returns the address."""
        # an own connection for each request: the store closes idle ones at any time
        connector = TCPConnector(force_close=True, limit=32)
        self._session = ClientSession(connector=connector, cookie_jar=DummyCookieJar(), auto_decompress=False)
        application = web.Application(client_max_size=2**30)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return "http://{}:{}".format(*self._runner.addresses[0][:2])

    async def stop(self) -> None:
        """End all connections."""
        await self._runner.cleanup()
        await self._session.close()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        if self._store.read_only and request.method in WRITES:
            return _refusal(403, "AccessDenied", "Access Denied")
        fault = self._drawn()
        if fault == "slow_down":
            return _refusal(503, "SlowDown", "Please reduce your request rate.")
        if fault == "reset_before":
            return _reset(request)
        if fault == "stall":
            await asyncio.sleep(self._store.stall_seconds)
        status, headers, content = await self._passed_on(request, body)
        if fault == "reset_after":
            return _reset(request)
        if fault in ("cut_body", "long_length", "short_length"):
            return await _damaged(request, fault, status, headers, content)
        return web.Response(status=status, headers=headers, body=None if request.method == "HEAD" else content)

    def _drawn(self) -> str | None:
        """Take the next fault, or draw one or none, and count it."""
        if self._store.next:
            fault = self._store.next.pop(0)
        else:
            fault = self._chance.choice(FAULTS) if self._chance.random() < self._store.rate else None
        if fault:
            self._store.faults[fault] += 1
        return fault

    async def _passed_on(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        """Ask the store what the client asks; returns the status, the headers and the body of its answer."""
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP - {"date"}}
        headers.pop("Expect", None)  # the proxy has answered it
        url = URL(self._store.plain + request.raw_path, encoded=True)
        async with self._session.request(
            request.method, url, headers=headers, data=body, allow_redirects=False
        ) as answer:
            content = await answer.read()
            passed = {name: value for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP}
            if request.method == "HEAD" and "Content-Length" in answer.headers:
                passed["Content-Length"] = answer.headers["Content-Length"]
            return answer.status, passed, content


def _refusal(status: int, code: str, message: str) -> web.Response:
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return web.Response(status=status, text=text, content_type="application/xml")


def _reset(request: web.Request) -> web.Response:
    """End the connection with a reset in place of an answer."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        request.transport.abort()
    return web.Response()


async def _damaged(
    request: web.Request, fault: str, status: int, headers: dict[str, str], content: bytes
) -> web.StreamResponse:
    """Answer with a body that does not fit its Content-Length."""
    if len(content) < 2:
        return _reset(request)
    sent = content if fault == "long_length" else content[: len(content) // 2]
    stated = {"cut_body": len(content), "long_length": len(content) + 7, "short_length": len(sent)}[fault]
    response = web.StreamResponse(status=status, headers=headers)
    response.content_length = stated
    response.force_close()
    await response.prepare(request)
    await response.write(sent)
    if fault != "short_length" and request.transport is not None:
        await asyncio.sleep(0)
        request.transport.close()  # sends what was written, and then the end
    return response
