"""Run a job on a store that fails, kill its processes at random times, and compare its rows with those of a quiet run.

`python -m tests.faults.chaos --seeds 0 1 2 --rate 0.05 --kill-seconds 20` prints one line for each seed.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field

from tests.faults.commands import (
    difference,
    finish,
    job_line,
    random_bundle,
    reconcile_line,
    rows_at,
    start,
    write_archive,
)
from tests.faults.faulty_store import FaultyStore, faulty_store
from tests.faults.killer import Killer

MOST_STARTS = 12
"""Starts of the same command after which a run counts as one that does not end."""


@dataclass(kw_only=True)
class Disturbed:
    """What a disturbed run went through, and how it ended."""

    seed: int
    starts: int = 0
    kills: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    verdict: str = ""
    """`ok`, or what is wrong."""
    errors: list[str] = field(default_factory=list)
    """Last line that each start without success wrote."""

    def line(self) -> str:
        """Say it on one line."""
        return (
            f"seed {self.seed}: {self.starts} starts, kills {_counts(self.kills)}, faults {_counts(self.faults)}, "
            f"{self.seconds:.0f} s: {self.verdict}"
        )


def run_disturbed(
    model_uri: str, seed: int, rate: float, kill_seconds: float, *, images_per_class: int = 40, most_kills: int = 1000
) -> Disturbed:
    """Classify a drawn archive while the store fails and processes are killed, and set the rows against a quiet run.

    Args:
        model_uri: path of a classifier bundle.
        seed: seed of the faults and of the kills.
        rate: fraction (0 to 1) of the requests that fail.
        kill_seconds: mean time between two kills, in seconds.
        images_per_class: number of images of each of the four classes.
        most_kills: number of kills after which the run is left alone.
    """
    result, began = Disturbed(seed=seed), time.monotonic()
    with faulty_store(seed) as store:
        write_archive(images_per_class)
        quiet = start(job_line(model_uri, "s3://chaos/quiet"), store.plain)
        if finish(quiet) != 0:
            raise RuntimeError(f"the quiet run failed: {quiet.said}")
        store.rate = rate
        killer = Killer(random.Random(seed), kill_seconds, most_kills, result.kills)
        ended = False
        while not ended and result.starts < MOST_STARTS:
            result.starts += 1
            job = start(job_line(model_uri, "s3://chaos/out"), store.proxy)
            ended = killer.finish(job) == 0
            result.errors += [] if ended else [job.last_words()]
        killer.end_leftovers()
        result.faults, store.rate = store.faults, 0.0
        result.verdict = verdict_of(store) if ended else "did not end"
    result.seconds = time.monotonic() - began
    return result


def verdict_of(store: FaultyStore) -> str:
    """`ok` if the output has one row for each image, with the content of the quiet run; otherwise what differs."""
    check = start(reconcile_line("s3://chaos/out"), store.plain)
    if finish(check) != 0:
        return f"reconcile_archive ended with {check.last_words()}"
    return difference(rows_at("s3://chaos/quiet"), rows_at("s3://chaos/out")) or "ok"


def _counts(counter: Counter[str]) -> str:
    return "+".join(f"{number} {name}" for name, number in sorted(counter.items())) or "none"


def main() -> None:
    """Disturb one run for each seed, and end with code 1 if one of them differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--rate", type=float, default=0.05, help="fraction of the requests that fail")
    parser.add_argument("--kill-seconds", type=float, default=20.0, help="mean time between two kills")
    parser.add_argument("--images-per-class", type=int, default=40)
    parser.add_argument("--model-uri", default="", help="classifier bundle; a tiny one of random weights if not given")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chaos") as folder:
        model_uri = arguments.model_uri or random_bundle(folder)
        failed = False
        for seed in arguments.seeds:
            run = run_disturbed(
                model_uri,
                seed,
                arguments.rate,
                arguments.kill_seconds,
                images_per_class=arguments.images_per_class,
            )
            failed |= run.verdict != "ok"
            print(run.line(), *(f"  ended with {error}" for error in run.errors), sep="\n", flush=True)
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
