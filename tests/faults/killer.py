"""Kill processes of a running job at random times, as the system, a driver or a lost machine do."""

import random
import subprocess
import threading
import time
from collections import Counter

from tests.faults.commands import START_SECONDS, Job, kill_job
from tests.faults.processes import descendants, end, kill_worker, name_of

MOST_DRIVERS = 2
"""Drivers that are killed in a run at most."""
AGENTS = {"ray::RuntimeEnv", "ray::DashboardA"}
"""Names of processes of Ray without which a node ends, and with the only node the cluster."""


class Killer:
    """Kills processes of a job at random times: mostly a worker of Ray, sometimes the driver.

    Args:
        chance: random numbers of the kills.
        seconds: mean time between two kills, in seconds.
        most: number of kills after which nothing is killed any more.
        kills: counts the kills by the name of the process.
    """

    def __init__(self, chance: random.Random, seconds: float, most: int, kills: Counter[str]) -> None:
        self._chance, self._seconds, self._most, self._kills = chance, seconds, most, kills
        self._ending: list[threading.Thread] = []

    def finish(self, job: Job) -> int:
        """Wait for a job and disturb it; returns its exit code, which is that of SIGKILL if the driver was killed."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                return job.process.wait(self._chance.uniform(0.5, 1.5) * self._seconds)
            except subprocess.TimeoutExpired:
                is_late = time.monotonic() > deadline
            if is_late:
                self._kill_driver(job, "hanging driver")
            elif self._kills.total() < self._most:
                self._kill_one(job)

    def _kill_one(self, job: Job) -> None:
        drivers, is_driver = self._kills["driver"], self._chance.random() < 0.1
        if is_driver and drivers < MOST_DRIVERS:
            self._kill_driver(job, "driver")
            return
        workers = {pid: name_of(pid) for pid in descendants(job.process.pid)}
        workers = {pid: name for pid, name in workers.items() if name.startswith("ray::") and name not in AGENTS}
        if workers:
            pid = self._chance.choice(sorted(workers))
            if kill_worker(job.process.pid, pid):
                self._kills[workers[pid].removeprefix("ray::")] += 1

    def _kill_driver(self, job: Job, name: str) -> None:
        """Kill the driver; the next start does not wait for what is left, which ends by itself or is killed."""
        self._kills[name] += 1
        ending = threading.Thread(target=end, args=(kill_job(job), 10.0), daemon=True)
        ending.start()
        self._ending.append(ending)

    def end_leftovers(self) -> None:
        """Wait until no process of a killed driver is left."""
        for ending in self._ending:
            ending.join()
