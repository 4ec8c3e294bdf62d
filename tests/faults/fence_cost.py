"""Measure what the fence of the decoders costs: `python -m tests.faults.fence_cost ARCHIVE --pattern '*.png' --cores 2`.

In alternating rounds the same files are decoded and hashed in this process, and through the fence as every job does it.
"""

import argparse
import hashlib
import itertools
import os
import statistics
import time
from pathlib import Path

from cxr_ray.archive.fetch import Fetched
from cxr_ray.imaging.decode import DEFAULT_LIMITS, decode_for_sizes
from cxr_ray.imaging.load import _decoded


def seconds(work):
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of image files, which are repeated if they are too few")
    parser.add_argument("--pattern", default="*.png")
    parser.add_argument("--files", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--cores", type=int, default=2)
    args = parser.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: args.cores])
    paths = sorted(args.folder.rglob(args.pattern))
    objects = [Fetched(data=path.read_bytes()) for path in itertools.islice(itertools.cycle(paths), args.files)]

    def here():
        for one in objects:
            decode_for_sizes(one.data, [224], limits=DEFAULT_LIMITS)
            hashlib.sha256(one.data).hexdigest()

    def fenced():
        for _ in _decoded(objects, DEFAULT_LIMITS, [224]):
            pass

    here(), fenced()
    rounds = [(seconds(here), seconds(fenced)) for _ in range(args.rounds)]
    ratios = sorted(behind / plain for plain, behind in rounds)
    plain, behind = (1e3 * statistics.median(times) / len(objects) for times in zip(*rounds, strict=True))
    kilobytes = sum(len(one.data) for one in objects) / len(objects) / 1e3
    print(
        f"{len(objects)} files of {kilobytes:.0f} KB, {args.cores} cores: {plain:.3f} ms here, {behind:.3f} ms fenced;"
        f" ratio {statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})"
    )


if __name__ == "__main__":
    main()
