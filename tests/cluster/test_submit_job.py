"""Tests of submissions to a cluster of `ray start --head` with a token; their job is a small one of the tests' own."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECRETS = {"CXR_RAY_PATIENT_SECRET": "hush-patients", "AWS_SECRET_ACCESS_KEY": "hush-aws"}
SAY = '''
import os, sys, time
from dataclasses import dataclass
from pathlib import Path
from cxr_ray.config.command_line import run_job
from cxr_ray.errors import ConfigError, GateError

@dataclass(frozen=True, kw_only=True)
class SayConfig:
    """Say something, and end."""
    code: int = 0
    until: str = ""
    lines: int = 40
    debug: bool = False

def say(config):
    print("secret", os.environ["CXR_RAY_PATIENT_SECRET"] == "hush-patients", sorted(os.listdir()))
    for number in range(config.lines):
        print("line", number, flush=True)
    while config.until and not Path(config.until).exists():
        time.sleep(0.1)
    if config.code:
        raise {2: ConfigError, 3: GateError}[config.code]("wrong s3://key:hush-uri@bucket")

if __name__ == "__main__":
    run_job(SayConfig, say)
'''


class BreakingWire:
    """Passes connections on to a server on loopback, and breaks all of them when it is told to."""

    def __init__(self, port: int) -> None:
        self.port, self.broken = port, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def break_all(self) -> None:
        while self._open:
            end = self._open.pop()
            end.shutdown(socket.SHUT_RDWR)
            self.broken += 1

    def _accept(self) -> None:
        while True:
            ours, _ = self._listener.accept()
            theirs = socket.create_connection(("127.0.0.1", self.port))
            self._open += [ours]
            for source, target in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._pass_on, args=(source, target), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:  # the other end is gone
            pass
        if source in self._open:
            self._open.remove(source)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return bound.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Environment of a user of a head node without CPUs, which has the secrets and asks for a token."""
    place = Path(tmp_path_factory.mktemp("h", numbered=True))
    folder = Path("/tmp") / f"cxr{os.getpid()}"  # the path of sockets must be short
    folder.mkdir()
    hidden = {"RAY_ADDRESS", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "CXR_RAY_FORKED_WORKERS"}
    user = {name: value for name, value in os.environ.items() if name not in hidden | SECRETS.keys()}
    user |= {"HOME": str(place), "RAY_TMPDIR": str(folder), "RAY_AUTH_MODE": "token"}
    ray = [sys.executable, "-m", "ray.scripts.scripts"]
    subprocess.run([*ray, "get-auth-token", "--generate"], env=user, capture_output=True, check=True)
    of_one_cluster = ("dashboard-port", "dashboard-agent-listen-port", "metrics-export-port", "ray-client-server-port")
    ports = {name: free_port() for name in of_one_cluster}
    start = [*ray, "start", "--head", "--port=0", "--num-cpus=0", "--block"]
    start += ["--dashboard-host=127.0.0.1", f"--temp-dir={folder}/ray"]
    start += [f"--{name}={port}" for name, port in ports.items()]
    user["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), user["PATH"]])  # jobs call `python`
    head = subprocess.Popen(start, env=user | SECRETS, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT)
    yield user | {"RAY_ADDRESS": f"http://127.0.0.1:{ports['dashboard-port']}"}
    head.terminate()
    head.wait(60)
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def submit(cluster, tmp_path_factory):
    """Start submit.py of a repository with one more job, on the cluster."""
    repository = tmp_path_factory.mktemp("repository")
    (repository / "jobs").mkdir()
    for name in (".gitignore", ".rayignore", "jobs/submit.py"):
        shutil.copy(ROOT / name, repository / name)
    shutil.copytree(ROOT / "cxr_ray", repository / "cxr_ray", ignore=shutil.ignore_patterns("__pycache__"))
    (repository / "jobs/say.py").write_text(SAY)
    (repository / "runs").mkdir()

    def start(*arguments, **variables):
        line = [sys.executable, str(repository / "jobs/submit.py"), *map(str, arguments)]
        pipes = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "bufsize": 0,
        }  # what was not read stays in the pipe
        return subprocess.Popen(line, env=cluster | SECRETS | variables, **pipes)

    return start


def ended(process):
    """Exit code, standard output and standard error of a submission."""
    said, errors = process.communicate(timeout=240)
    return process.returncode, said.decode(), errors.decode()


def wait_for_line(process, text):
    """Read standard output up to a line with a text."""
    for line in process.stdout:
        if text in line.decode():
            return
    raise AssertionError(f"no line with {text!r}; {process.stderr.read()}")


def shown_of_jobs(cluster):
    """All that the job server tells about its jobs to whoever has the token."""
    token = Path(cluster["HOME"], ".ray/auth_token").read_text().strip()
    request = urllib.request.Request(
        f"{cluster['RAY_ADDRESS']}/api/jobs/", headers={"Authorization": f"Bearer {token}"}
    )
    return urllib.request.urlopen(request, timeout=30).read().decode()


@pytest.mark.cluster
@pytest.mark.slow
def test_a_submission_is_its_job(submit, cluster, tmp_path):
    """Exit codes, lines and refusals; the jobs run at the same time, because most of their seconds are imports."""
    first = ended(submit("--wait-for-nodes", "1", "--wait-minutes", "2", "say"))
    assert first[0] == 0, first[2]
    assert first[1].count("line 7\n") == 1
    assert "secret True ['cxr_ray', 'jobs']\n" in first[1]  # the cluster has the secret, and runs/ stayed here
    assert re.search(r"say-[0-9a-f]{12}-1 succeeded, with exit code 0\n$", first[2])

    running = {
        "gate": submit("say", "--code", "3"),
        "argument": submit("say", "--code", "2"),
        "not again": submit("--once", "say", "--debug"),  # --debug is not part of the work
        "missing": submit("--require-env", "CXR_RAY_PATIENT_SECRET", "CXR_NONE", "--", "say", "--lines", "2"),
        "no token": submit("say", HOME=str(tmp_path)),
    }
    running["not again"].wait(240)  # else it may find the second submission, and follow that
    running["again"] = submit("say")
    codes, said, errors = {}, {}, {}
    for name, process in running.items():
        codes[name], said[name], errors[name] = ended(process)
    expected = {"gate": 3, "argument": 2, "again": 0, "not again": 0, "missing": 1, "no token": 1}
    assert codes == expected, errors
    assert "error: wrong s3://***@bucket\n" in said["gate"]
    assert "-2 succeeded, with exit code 0" in errors["again"]
    assert "-1 has succeeded; nothing is submitted" in errors["not again"]
    assert "error: not set: CXR_NONE on the node of the driver" in said["missing"]
    assert "line 0" not in said["missing"]
    assert "error: the cluster needs a token" in errors["no token"]
    assert not [name for name in said if "hush" in said[name] + errors[name]]
    shown = shown_of_jobs(cluster)
    assert "python jobs/say.py --code 3" in shown
    assert "hush" not in shown


@pytest.mark.cluster
@pytest.mark.slow
def test_a_running_job_is_followed_and_not_started_twice(submit, cluster, tmp_path):
    """Beside it, the first follower's connection breaks, and a third one stops following."""
    wire = BreakingWire(int(cluster["RAY_ADDRESS"].rpartition(":")[2]))
    line = ["say", "--until", tmp_path / "go", "--code", "3"]
    first = submit(*line, RAY_ADDRESS=wire.address)
    wait_for_line(first, "line 30")
    second, third = submit(*line), submit(*line)
    wait_for_line(third, "line 39")
    third.send_signal(signal.SIGINT)
    code, _, errors = ended(third)
    assert code == 130
    assert re.search(r"\n(say-\S+-1) goes on; .* ray job stop \1 stops it\n$", errors)
    wire.break_all()
    wait_for_line(second, "line 39")
    time.sleep(1)
    (tmp_path / "go").touch()
    code, said, errors = ended(first)
    assert (code, wire.broken > 0) == (3, True), errors
    assert re.findall(r"line (\d+)\n", said) == [str(number) for number in range(31, 40)]
    assert "trying again, and the job goes on" in errors
    code, _, errors = ended(second)
    assert code == 3, errors
    assert "is running already, and is followed" in errors
    assert shown_of_jobs(cluster).count("/go --code 3") == 1
