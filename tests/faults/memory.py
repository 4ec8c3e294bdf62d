"""Score many files, or few very large ones, and sample the memory of all processes of the job.

`python -m tests.faults.memory --model-uri BUNDLE --files 100000 --pixels 64` asks whether memory grows with the rows;
`--files 200 --pixels 4000 --bits 16 --limit-gib 4` whether large radiographs fit in 4 GiB, which a control group of the
kernel enforces (it needs root).
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_ray.archive.tables import count_rows_of

REPOSITORY = Path(__file__).parents[2]
HIDDEN = ("RAY_ADDRESS", "CXR_RAY_FORKED_WORKERS")
DISTINCT = 8
"""Number of pictures that are drawn; the other files are links to them."""


def draw(folder, files, pixels, bits):
    folder.mkdir()
    y, x = np.mgrid[0:pixels, 0:pixels] / pixels
    for number in range(DISTINCT):
        grey = 0.5 + 0.4 * np.sin(9 * y + number) * np.cos(7 * x)
        grey += np.random.default_rng(number).normal(0, 0.01, grey.shape)
        top = 2**bits - 1
        Image.fromarray(np.clip(grey * top, 0, top).astype(np.uint16 if bits == 16 else np.uint8)).save(
            folder / f"{number:07}.png", compress_level=1
        )
    for number in range(DISTINCT, files):
        os.link(folder / f"{number % DISTINCT:07}.png", folder / f"{number:07}.png")


def tree_of(pid):
    """Ids of a process and all processes below it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError, IndexError):
            parents.setdefault(int((entry / "stat").read_text().rpartition(")")[2].split()[1]), []).append(
                int(entry.name)
            )
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def memory_of(pid):
    """MiB of a process and all below it by name, and of `shared memory`, such as Ray's object store, which counts once."""
    found = Counter()
    for one in tree_of(pid):
        with suppress(OSError, KeyError):
            lines = Path(f"/proc/{one}/smaps_rollup").read_text().splitlines()[1:]
            kibibytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
            found[(Path(f"/proc/{one}/comm")).read_text().strip()] += (kibibytes["Pss"] - kibibytes["Pss_Shmem"]) / 1024
            found["shared memory"] += kibibytes["Pss_Shmem"] / 1024
    return found


@contextmanager
def control_group(limit_gib):
    """A control group of at most this much memory, page cache included; its file of processes, or None without limit."""
    if limit_gib is None:
        yield None
        return
    group = Path(f"/sys/fs/cgroup/memory/cxr_ray_{os.getpid()}")
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(int(limit_gib * 2**30)))
        yield group / "cgroup.procs"
    finally:
        for _ in range(100):
            try:
                group.rmdir()
                break
            except OSError:  # the last processes are ending
                time.sleep(0.1)


def run(line, limit_gib, output, samples):
    environment = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    with control_group(limit_gib) as procs:
        inside = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(procs)] if procs else []
        job = subprocess.Popen([*inside, *line], env=environment)
        began, end = time.monotonic(), threading.Event()

        def sample():
            while not end.wait(2):
                rows = count_rows_of(str(output)) if any(output.glob("*.parquet")) else 0
                samples.append((time.monotonic() - began, rows, memory_of(job.pid)))

        thread = threading.Thread(target=sample)
        thread.start()
        code = job.wait()
        end.set()
        thread.join()
    return code


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model-uri", required=True)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--pixels", type=int, default=64)
    parser.add_argument("--bits", type=int, choices=(8, 16), default=8)
    parser.add_argument("--limit-gib", type=float)
    options, more = parser.parse_known_args()
    folder = Path(tempfile.mkdtemp(prefix="memory"))
    try:
        draw(folder / "in", options.files, options.pixels, options.bits)
        line = [sys.executable, str(REPOSITORY / "jobs/classify_archive.py"), "--input-uri", str(folder / "in")]
        line += ["--output-uri", str(folder / "out"), "--model-uri", options.model_uri, *more]
        samples = []
        code = run(line, options.limit_gib, folder / "out/predictions", samples)
        for seconds, rows, held in samples[:: max(1, len(samples) // 20)]:
            print(f"{seconds:7.0f} s {rows:9,} rows {held.total():8,.0f} MiB")
        running = [held for _, rows, held in samples if 0 < rows < options.files]
        busy = [held.total() for held in running]
        quarter = len(busy) // 4
        early, late = busy[quarter : 2 * quarter], busy[3 * quarter :]
        print(f"exit code {code}, {count_rows_of(str(folder / 'out/predictions')):,} rows")
        print(f"at most {max(busy, default=0):,.0f} MiB")
        if early:
            ratio = statistics.median(late) / statistics.median(early)
            print(f"last quarter of the samples beside the second: {ratio:.3f}")
            for name in sorted({name for held in running for name in held}):
                before, after = (
                    statistics.median(held[name] for held in part)
                    for part in (running[quarter : 2 * quarter], running[3 * quarter :])
                )
                print(f"  {name}: {before:,.0f} to {after:,.0f} MiB")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
