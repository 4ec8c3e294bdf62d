"""Score good files alone and beside ten whose codec aborts, hangs or takes 8 GB.

`python -m tests.faults.bad_files --files 1000 --model-uri BUNDLE` draws the files, runs both jobs in turn and prints
their seconds.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from cxr_ray.archive.tables import read_table

REPOSITORY = Path(__file__).parents[2]
BAD = ["abort", "hang", "allocate"]
KINDS = {"abort": "decoder_crashed", "hang": "decoder_timeout", "allocate": "too_large"}
HIDDEN = ("RAY_ADDRESS", "CXR_RAY_FORKED_WORKERS", "PYTHONPATH")


def jpeg(seed, size, comment=b""):
    y, x = np.mgrid[0:size, 0:size] / size
    rng = np.random.default_rng(seed)
    smooth = 128 + 90 * np.sin(9 * y + seed) * np.cos(7 * x) + rng.normal(0, 5, (size, size))
    buffer = io.BytesIO()
    Image.fromarray(np.clip(smooth, 0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90, comment=comment)
    return buffer.getvalue()


def draw(folder, good, bad, size=512):
    """Write `good` radiographs to a folder, and `bad` files among them; the kind of error of each bad file by its name."""
    folder.mkdir()
    for number in range(good):
        (folder / f"{number:05}.jpg").write_bytes(jpeg(number, size))
    names = {}
    for number in range(bad):
        comment = BAD[number % len(BAD)]
        name = f"{number * good // bad:05}_{comment}.jpg"
        (folder / name).write_bytes(jpeg(number, size, comment.encode()))
        names[name] = KINDS[comment]
    return names


def score(folder, output, model_uri, *options):
    """Run the job in a process of its own, whose workers have the bad codec; its exit code, its log and its seconds."""
    environment = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY / "tests/faults/bad_codec"), str(REPOSITORY)])
    line = [sys.executable, str(REPOSITORY / "jobs/classify_archive.py"), "--input-uri", str(folder)]
    line += ["--output-uri", str(output), "--model-uri", str(model_uri), *options]
    began = time.monotonic()
    job = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=1800, check=False)
    return job.returncode, job.stderr, time.monotonic() - began


def check(output, good, names):
    """Compare the rows of a job with what was drawn."""
    rows = read_table(f"{output}/predictions").to_pylist()
    errors = {row["image_id"]: row["error_kind"] for row in rows if row["status"] == "error"}
    assert errors == names, errors
    assert len(rows) == len({row["image_id"] for row in rows}) == good + len(names)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--bad", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--model-uri", required=True)
    arguments = parser.parse_args()
    seconds = {"good": [], "bad": []}
    with tempfile.TemporaryDirectory() as folder:
        names = {"good": draw(Path(folder, "good"), arguments.files, 0)}
        names["bad"] = draw(Path(folder, "bad"), arguments.files, arguments.bad)
        for turn in range(arguments.repeats):
            for kind, taken in seconds.items():
                output = Path(folder, f"{kind}{turn}")
                code, log, took = score(Path(folder, kind), output, arguments.model_uri)
                assert code == 0, log
                check(output, arguments.files, names[kind])
                taken.append(took)
                print(f"{kind}: {took:.1f} s", flush=True)
    ratio = statistics.median(seconds["bad"]) / statistics.median(seconds["good"])
    print(f"{arguments.files:,} good files, {arguments.bad} bad ones: {ratio:.2f} times the time")


if __name__ == "__main__":
    main()
