"""Measure planning, counting and reconciling as an archive grows: `python -m tests.faults.growth --millions 1 10 100`.

For each size a manifest is drawn, and rows of nine tenths of its images in files of 100,000; the first tenth has none, as
after a run that ended early on a cluster. Each step runs in a process of its own, whose time and memory are printed.
"""

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.reconcile import reconcile
from cxr_ray.archive.tables import table_writer, write_table
from cxr_ray.scoring.output.planning import check_unique, plan_blocks
from cxr_ray.scoring.output.state import OutputState

PER_FILE = 100_000


def ids_of(start, stop):
    """Names such as `COVID/images/COVID-0000000017.png`, in increasing order."""
    digits = pc.utf8_lpad(pa.array(np.arange(start, stop)).cast(pa.string()), 10, "0")
    return pc.binary_join_element_wise("COVID/images/COVID-", digits, ".png", "")


def draw(folder, images):
    schema = pa.schema([("image_id", pa.string()), ("uri", pa.string()), ("size_bytes", pa.int64())])
    state = OutputState(f"{folder}/out", "predictions")
    with table_writer(f"{folder}/manifest.parquet", schema) as writer:
        for start in range(0, images, PER_FILE):
            ids = ids_of(start, min(images, start + PER_FILE))
            uris = pc.binary_join_element_wise("s3://hospital/archive/", ids, "")
            writer.write_table(pa.table([ids, uris, np.full(len(ids), 40_000)], schema=schema))
            if start < images // 10:
                continue
            count = len(ids)
            columns = {
                "status": "ok",
                "error_kind": None,
                "run_id": "run",
                "model_id": "model",
                "preprocessing_id": "p",
            }
            rows = {
                name: pa.array([value], pa.string()).take(pa.array(np.zeros(count, int)))
                for name, value in columns.items()
            }
            write_table(pa.table({"image_id": ids} | rows), f"{state.rows_uri}/{start:012}_000000-0.parquet")
            write_table(pa.table({"image_id": ids[:1]}), f"{state.marks_uri}/{start:012}_000000.parquet")
    return state


def step(name, folder):
    """Run one step in this process, and print its seconds and its largest memory."""
    state, manifest, began = OutputState(f"{folder}/out", "predictions"), f"{folder}/manifest.parquet", time.monotonic()
    if name == "unique":
        found = check_unique(manifest)
    elif name == "plan":
        plan = f"{folder}/plan.parquet"
        found = plan_blocks(state, manifest, plan, rows_per_block=8192, retry_errors=False)
    else:
        account = reconcile(manifest, state.rows_uri)
        found = [account.missing.count, account.rows]
    seconds = time.monotonic() - began
    gigabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    print(json.dumps({"seconds": seconds, "gigabytes": gigabytes, "found": found}))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--millions", type=float, nargs="+", default=[1, 10])
    parser.add_argument("--step", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.step:
        step(arguments.step, arguments.folder)
        return
    print("| million images | step | seconds | seconds per million | GB |\n|---|---|---|---|---|")
    for millions in arguments.millions:
        folder = tempfile.mkdtemp(prefix="growth")
        try:
            images = int(millions * 1e6)
            draw(folder, images)
            for name in ("unique", "plan", "reconcile"):
                line = [sys.executable, "-m", "tests.faults.growth", "--step", name, "--folder", folder]
                said = subprocess.run(line, stdout=subprocess.PIPE, text=True, check=True).stdout
                measured = json.loads(said.splitlines()[-1])
                seconds = measured["seconds"]
                left = -(-images // 10 // PER_FILE) * PER_FILE
                assert measured["found"] in (None, [left, images - left])
                print(
                    f"| {millions:g} | {name} | {seconds:.1f} | {seconds / millions:.2f} | {measured['gigabytes']:.2f} |",
                    flush=True,
                )
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
