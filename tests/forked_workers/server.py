"""A process that has imported what Ray's workers import, and forks one for each that is asked of it.

Each worker of Ray is a new Python process, and this suite starts hundreds: importing torch, timm and the like costs each
five seconds of a core. A fork has them at once. Ray itself is imported after the fork: it reads its environment then.
Run as `python server.py SOCKET`; it ends when its standard input does.
"""

import gc
import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import traceback
from contextlib import suppress
from fcntl import F_DUPFD, fcntl
from functools import cache
from pathlib import Path

MODULES = (
    *("pandas", "pyarrow.dataset", "s3fs", "aiohttp", "scipy.ndimage", "sklearn.metrics", "pydicom"),
    *("torch", "torch._dynamo", "torchvision", "timm", "segment_anything", "transformers"),
)
"""What several workers need and what is slow to import; none of it may start a thread, or import Ray."""
MOST_FILES = 250
"""A Unix socket carries 253 files in one message."""


def serve(address: str) -> None:
    """Fork a worker for each connection to `address`, until standard input ends."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    running: dict[int, tuple[socket.socket, int]] = {}
    with selectors.DefaultSelector() as events:
        events.register(sys.stdin, selectors.EVENT_READ)
        events.register(listener, selectors.EVENT_READ)
        while True:
            for event, _ in events.select():
                if event.fileobj is sys.stdin:
                    return
                if event.fileobj is listener:
                    connection = listener.accept()[0]
                    worker = forked_worker(connection)
                    running[worker] = connection, os.pidfd_open(worker)
                    for source in running[worker]:
                        events.register(source, selectors.EVENT_READ, worker)
                elif event.data in running:
                    sources = running.pop(event.data)
                    for source in sources:
                        events.unregister(source)
                    end_worker(event.data, *sources)


def forked_worker(connection: socket.socket) -> int:
    """Fork the worker that `connection` asks for; return its process id, to the server alone."""
    import_modules()
    size, files, _, _ = socket.recv_fds(connection, 8, MOST_FILES)
    body = connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL)
    worker = os.fork()
    if worker == 0:
        become_worker(json.loads(body), files)
    for file in files:
        os.close(file)
    return worker


@cache
def import_modules() -> None:
    """Import what workers need; what is there by then is never garbage, and looking at it would copy its pages."""
    for module in MODULES:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()


def become_worker(request: dict, files: list[int]) -> None:
    """Run the script of `request` in this process, with its arguments, environment, folder and files; then exit."""
    os.setsid()
    above = max([MOST_FILES, *request["files"]]) + 1
    held = [fcntl(file, F_DUPFD, above) for file in files]
    os.closerange(0, above)
    for file, number in zip(held, request["files"], strict=True):
        os.dup2(file, number)
    os.closerange(above, max(held) + 1)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["arguments"]
    script = sys.argv[0]
    sys.path[0] = str(Path(script).parent)
    status = 1
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as end:  # Ray's worker has said goodbye by then; what it does at exit can wait for ever in a fork
        status = int(end.code or 0)
    except BaseException:  # noqa: BLE001  the worker ends here, whatever happened
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def end_worker(worker: int, connection: socket.socket, handle: int) -> None:
    """Kill `worker` unless it has ended, and tell the process that waits for it how it ended."""
    with suppress(ProcessLookupError):
        os.kill(worker, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    with connection, suppress(OSError):  # the process that waited may have been killed
        connection.send(status.to_bytes(8, "big", signed=True))
    os.close(handle)


if __name__ == "__main__":
    serve(sys.argv[1])
