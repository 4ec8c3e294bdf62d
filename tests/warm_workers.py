"""Ray workers that start warm: forks of one process that has imported what they need.

A worker of Ray is a new Python that imports Ray, pandas, torch and timm for several seconds of computing, and the tests
start hundreds. Here `python warm_workers.py SOCKET worker.py ...` stands in the place of `python worker.py ...`: it hands its
arguments, environment and open files to a server that has all this in memory, and a fork of the server runs the same
`worker.py` with them.
"""

import gc
import importlib
import json
import os
import runpy
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MODULES = (
    "ray.data", "ray.data.checkpoint", "ray.train.torch",
    "pyarrow.dataset", "pyarrow.parquet", "pydantic.v1", "pydicom", "s3fs", "scipy.ndimage", "sklearn.metrics", "timm",
    "torch.distributed", "cxr_ray.scoring.classify_archive", "cxr_ray.scoring.segment_archive",
    "cxr_ray.training.classifier.train_classifier", "cxr_ray.training.clip.finetune_clip",
    "cxr_ray.training.segmenter.train_segmenter",
)  # fmt: skip
"""What is imported before the first fork. None of them starts a thread or computes anything when it is imported."""


@contextmanager
def warm_workers() -> Iterator[str]:
    """The `py_executable` of a runtime environment whose workers start warm inside the block."""
    with tempfile.TemporaryDirectory(prefix="warm") as folder:
        path = f"{folder}/socket"
        server = subprocess.Popen([sys.executable, __file__, "--serve", path])
        try:
            while not Path(f"{path}.ready").exists() and server.poll() is None:
                time.sleep(0.01)
            yield f"{sys.executable} -S -E {__file__} {path}"
        finally:
            server.terminate()
            server.wait()


def serve(path: str) -> None:
    """Fork a worker for every connection to the socket at `path`; what they need is imported for the first."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(64)
    Path(f"{path}.ready").touch()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks: their sockets tell of their end
    is_warm = False
    while True:
        connection, _ = listener.accept()
        message, files = read_request(connection)
        if message and not is_warm:
            warm_up(message["environment"])
            is_warm = True
        if message and os.fork() == 0:
            listener.close()
            become_worker(message, files)
        for file in files:
            os.close(file)
        connection.close()  # the fork's own copy stays open as long as the fork lives


def read_request(connection: socket.socket) -> tuple[dict[str, object] | None, list[int]]:
    """The message and the open files of `ask_for_worker`; None if Ray has ended the process that asked in the meantime."""
    files: list[int] = []
    try:
        head, files, _, _ = socket.recv_fds(connection, 8, 3)
        return json.loads(connection.recv(*struct.unpack("<q", head), socket.MSG_WAITALL)), files
    except (OSError, struct.error, ValueError):
        return None, files


def warm_up(environment: dict[str, str]) -> None:
    """Import `MODULES` under the environment of a worker: Ray's core reads its settings when it is loaded."""
    os.environ.update(environment)
    for name in MODULES:
        importlib.import_module(name)
    gc.freeze()  # forks leave the memory of what was imported alone


def become_worker(message: dict[str, object], files: list[int]) -> None:
    """Run the program of `message` in this process, and end with it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    os.environ.clear()
    os.environ.update(message["environment"])
    os.chdir(message["folder"])
    sys.argv = message["arguments"]
    code = 1
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ask_for_worker(path: str, arguments: list[str]) -> None:
    """Have a worker forked for these arguments, and stay until it has ended."""
    message = {"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd())}
    data = json.dumps(message).encode()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    socket.send_fds(connection, [struct.pack("<q", len(data))], [0, 1, 2])
    connection.sendall(data)
    connection.recv(1)  # nothing is ever sent: this returns when the worker's end closes the socket


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(sys.argv[2])
    else:
        ask_for_worker(sys.argv[1], sys.argv[2:])
