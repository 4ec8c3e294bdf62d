"""Let the server of this folder fork Ray's workers: Python imports this file first where PYTHONPATH names its folder.

A process that is to be a worker of Ray hands its arguments, environment, folder and open files to the server, whose child is
the worker instead of it. It waits, and ends as the child ends; if it is killed, the server kills the child. Every other
Python process goes on as usual.
"""

import json
import os
import re
import sys
from itertools import dropwhile
from pathlib import Path

WORKER_SCRIPT = "/ray/_private/workers/default_worker.py"
SETUP_SCRIPT = "/ray/_private/workers/setup_worker.py"
CONTEXT_OPTION = "--serialized-runtime-env-context="
LANGUAGE_OPTION = "--language="


def main() -> None:
    """Hand this process over if it is to be a worker and a server is named."""
    address = os.environ.get("CXR_RAY_FORKED_WORKERS")
    arguments = list(dropwhile(lambda argument: argument.startswith("-"), sys.orig_argv[1:]))
    if address and arguments and arguments[0].endswith(SETUP_SCRIPT):
        arguments = after_setup(arguments)
    if address and arguments and arguments[0].endswith(WORKER_SCRIPT):
        hand_over(address, arguments)


def after_setup(arguments: list[str]) -> list[str]:
    """Do what Ray's setup script does for a worker that needs other variables of the environment; return what it would start.

    Ray imports itself for that, which takes longer than the rest of the start. Nothing is done, and nothing returned, for a
    worker in another language, by another Python, or behind a command of its own.
    """
    options = dict(part.split("=", 1) for part in arguments if part.startswith((CONTEXT_OPTION, LANGUAGE_OPTION)))
    context = json.loads(options.get(CONTEXT_OPTION[:-1], "{}"))
    variables = context.pop("env_vars", {})
    if context.pop("py_executable", sys.executable) != sys.executable or any(context.values()):
        return []
    if options.get(LANGUAGE_OPTION[:-1]) != "PYTHON":
        return []
    for name, value in variables.items():
        os.environ[name] = re.sub(r"\$\{[A-Z0-9_]+\}", "", os.path.expandvars(value))
    return [part for part in arguments[1:] if not part.startswith((CONTEXT_OPTION, LANGUAGE_OPTION))]


def hand_over(address: str, arguments: list[str]) -> None:
    """Let the server run the script with `arguments`, and end as it ends."""
    import signal
    import socket

    def message(content: object) -> bytes:
        body = json.dumps(content).encode()
        return len(body).to_bytes(8, "big") + body

    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        server.sendall(message({name: os.environ[name] for name in sorted(os.environ) if name.startswith("RAY_")}))
        family = server.recv(4096).decode()
    files = open_files()
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": str(Path.cwd()), "files": files}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(family)
        content = message(request)
        socket.send_fds(connection, [content[:1]], files)
        connection.sendall(content[1:])
        status = int.from_bytes(connection.recv(8) or b"\1", "big", signed=True)
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def open_files() -> list[int]:
    """Numbers of the files that are open in this process."""
    return sorted(int(entry.name) for entry in list(Path("/proc/self/fd").iterdir()) if entry.exists())


main()
