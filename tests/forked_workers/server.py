"""Processes that have imported what Ray's workers import, and fork one for each that is asked of them.

Each worker of Ray is a new Python process, and this suite starts hundreds: importing torch, timm, Ray and the like costs each
seven seconds of a core. A fork has them at once. Ray reads its environment when it is imported; so a child of this process
imports it for each environment that Ray's workers are started with, and the workers are children of that one.
Run as `python server.py SOCKET`; it ends when its standard input does.
"""

import gc
import hashlib
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
from pathlib import Path
from pkgutil import walk_packages
from types import SimpleNamespace

MODULES = (
    *("pandas", "pyarrow.dataset", "s3fs", "aiohttp", "scipy.ndimage", "sklearn.metrics", "pydicom", "tyro", "rich"),
    *("torch", "torch._dynamo", "torchvision.transforms.v2", "timm", "segment_anything", "pydantic.type_adapter"),
    *("transformers.models.bert.modeling_bert", "dynamic_network_architectures.architectures.unet"),
)
"""What several workers need and what is slow to import; none of it may start a thread, or import Ray."""
MOST_FILES = 250
"""A Unix socket carries 253 files in one message."""


def serve(address: Path) -> None:
    """Tell each connection to `address` where its worker will be forked, until standard input ends.

    A connection sends the variables of Ray in its environment as JSON, and receives the address of a process that has
    imported Ray with them.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # no child of this process is waited for
    listener = listening(address)
    with selectors.DefaultSelector() as events:
        events.register(sys.stdin, selectors.EVENT_READ)
        events.register(listener, selectors.EVENT_READ)
        while all(key.fileobj is listener for key, _ in events.select()):
            with listener.accept()[0] as connection:
                variables = read_message(connection)
                family = address.with_name(hashlib.sha256(json.dumps(variables).encode()).hexdigest()[:16])
                if not family.exists():
                    import_modules(*MODULES)
                    start_family(family, variables, [listener, connection])
                connection.sendall(str(family).encode())


def start_family(address: Path, variables: dict[str, str], held: list[socket.socket]) -> None:
    """Fork a process that imports Ray with the `variables` and forks workers at `address`; it has no use for `held`."""
    listener = listening(address)
    if os.fork() == 0:
        try:
            for inherited in held:
                inherited.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for name in [name for name in os.environ if name.startswith("RAY_")]:
                del os.environ[name]
            os.environ.update(variables)
            import_with_ray()
            fork_workers(listener)
        except BaseException:  # noqa: BLE001  what waits for this process reads why it ended
            traceback.print_exc()
        finally:
            address.unlink(missing_ok=True)
            os._exit(0)
    listener.close()


def fork_workers(listener: socket.socket) -> None:
    """Fork a worker for each connection to `listener`, until the node of the workers or standard input ends."""
    running: dict[int, tuple[socket.socket, int]] = {}
    node = os.pidfd_open(int(os.environ["RAY_RAYLET_PID"]))
    with selectors.DefaultSelector() as events:
        for source in (sys.stdin, listener, node):
            events.register(source, selectors.EVENT_READ)
        while node in events.get_map() or running:
            for event, _ in events.select():
                if event.fileobj is sys.stdin:
                    return
                if event.fileobj is node:
                    events.unregister(node)
                elif event.fileobj is listener:
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
    start, files, _, _ = socket.recv_fds(connection, 1, MOST_FILES)
    request = read_message(connection, start)
    worker = os.fork()
    if worker == 0:
        become_worker(request, files)
    for file in files:
        os.close(file)
    return worker


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


def import_modules(*names: str) -> None:
    """Import the modules of these `names`; what is there by then is never garbage: looking at it would copy its pages."""
    for name in names:
        importlib.import_module(name)
    gc.collect()
    gc.freeze()


def import_with_ray() -> None:
    """Import Ray and the whole product, without a draw from Ray's random numbers.

    Ray seeds them at the first draw. Workers that are forked after it would all draw the same ids, and meet in the object
    store. An import draws where it decorates a class as an actor.

    Raises:
        RuntimeError: if an import has drawn all the same.
    """
    import ray.actor

    class_ids = ray.actor.ActorClassID
    ray.actor.ActorClassID = SimpleNamespace(from_random=lambda: class_ids(os.urandom(class_ids.size())))
    product = importlib.import_module("cxr_ray").__path__
    import_modules("ray.data", "ray.train.torch", *(module.name for module in walk_packages(product, "cxr_ray.")))
    ray.actor.ActorClassID = class_ids
    if drawn_in_a_fork() == drawn_in_a_fork():
        raise RuntimeError("an import draws from Ray's random numbers: forked workers would have equal ids")


def drawn_in_a_fork() -> bytes:
    """The id that Ray draws first in a fork of this process."""
    from ray import ObjectID

    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, ObjectID.from_random().binary())
        os._exit(0)
    drawn = os.read(reader, ObjectID.size())
    os.close(reader)
    os.close(writer)
    os.wait()
    return drawn


def listening(address: Path) -> socket.socket:
    """A socket that listens at `address`."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen(64)
    return listener


def read_message(connection: socket.socket, start: bytes = b"") -> dict:
    """Read a message: its size in eight bytes, of which `start` has been read, and JSON of that size."""
    size = start + connection.recv(8 - len(start), socket.MSG_WAITALL)
    return json.loads(connection.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
    os._exit(0)  # the modules have nothing to say at exit
