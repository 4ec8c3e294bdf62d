"""Kill a job with SIGKILL, start the same command again, and say what the kill has cost.

`python -m tests.faults.resumed_job --images 8000 --model-uri BUNDLE --done 0.9` scores drawn files whole, then once more
with a kill when nine tenths are committed, and prints the seconds of the second start beside those of the whole.
`python -m tests.faults.resumed_job --images 2000 --text --seconds 420` segments by text with models of full size and
random weights, is killed after so many seconds, and prints what had been committed; it is not finished afterwards.
"""

import argparse
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from tests.faults.bad_files import draw
from tests.faults.commands import REPOSITORY, Job, committed_rows, finish, kill_job, reconcile_line, start
from tests.faults.processes import end

LONGEST = 3600.0
"""Seconds after which a job counts as hanging."""


def line_of(job, folder, output, *options):
    line = [sys.executable, str(REPOSITORY / "jobs" / job), "--input-uri", str(folder), "--output-uri", str(output)]
    return [*line, *options]


def rows_of(output, table):
    """Number of rows that are committed; 0 before the first."""
    try:
        return committed_rows(str(output), table).num_rows
    except (FileNotFoundError, ValueError):  # no state, or no file that could be joined
        return 0


def watch(job: Job, output, table, until):
    """Wait until `until(rows, seconds)`; returns the seconds at which the number of committed rows has grown, with it."""
    began, grown, rows = time.monotonic(), [], 0
    while not until(rows, time.monotonic() - began):
        if job.process.poll() is not None:
            raise SystemExit(f"the job ended before it was killed: {job.last_words()}")
        time.sleep(0.5)
        if (found := rows_of(output, table)) > rows:
            rows = found
            grown.append((time.monotonic() - began, rows))
    return grown


def finished(line):
    """Run a command to its end; its seconds."""
    began, job = time.monotonic(), start(line)
    if finish(job, LONGEST) != 0:
        raise SystemExit(job.last_words())
    return time.monotonic() - began


def classify(folder, scratch, arguments):
    """Print the seconds of a whole job, and of the same command after a kill."""
    options = ("--model-uri", arguments.model_uri)
    whole = finished(line_of("classify_archive.py", folder, scratch / "whole", *options))
    print(f"whole: {whole:.1f} s for {arguments.images:,} images", flush=True)
    line = line_of("classify_archive.py", folder, scratch / "killed", *options)
    job = start(line)
    grown = watch(job, scratch / "killed", "predictions", lambda rows, _: rows >= arguments.done * arguments.images)
    end(kill_job(job), 10.0)
    print(f"killed after {grown[-1][1]:,} committed rows", flush=True)
    rest = finished(line)
    finished(reconcile_line(str(scratch / "killed")))
    print(f"the same command again: {rest:.1f} s, {rest / whole:.3f} of the whole; the rows reconcile")


def segment(folder, scratch, arguments):
    """Print when rows of a segmentation by text were committed before it is killed, and that the next start keeps them."""
    save_models(scratch)
    output = scratch / "out"
    options = ("--clip-uri", str(scratch / "clip"), "--sam-uri", str(scratch / "sam_vit_b.pth"))
    line = line_of("segment_archive.py", folder, output, *options)
    job = start(line)
    grown = watch(job, output, "masks", lambda _, seconds: seconds > arguments.seconds)
    end(kill_job(job), 10.0)
    if not grown:
        raise SystemExit(f"no row was committed within {arguments.seconds:.0f} s")
    kept = committed_rows(str(output), "masks")
    print(f"first rows after {grown[0][0]:.0f} s; killed after {arguments.seconds:.0f} s with {kept.num_rows} images")
    times = [0.0, *(seconds for seconds, _ in grown), arguments.seconds]
    longest = max(later - earlier for earlier, later in pairwise(times))
    print(
        f"the last commit was {times[-1] - times[-2]:.0f} s before; at most {longest:.0f} s of work was not kept",
        flush=True,
    )
    job = start(line)
    more = watch(job, output, "masks", lambda rows, _: rows > kept.num_rows)
    end(kill_job(job), 10.0)
    names, again = set(kept["image_id"].to_pylist()), committed_rows(str(output), "masks")["image_id"].to_pylist()
    assert names <= set(again), "rows were lost"
    assert len(again) == len(set(again)), "rows were doubled"
    seconds, rows = more[-1]
    print(f"the same command again kept them, and committed {rows - kept.num_rows} more after {seconds:.0f} s")


def save_models(folder):
    """Save a BiomedCLIP and a SAM of full size with random weights."""
    import torch

    from cxr_ray.config.segmentation import LUNG_PROMPTS
    from cxr_ray.models.biomedclip import SPECIAL_TOKENS, BiomedClip, PromptTokenizer
    from cxr_ray.models.clip_card import save_clip_bundle
    from cxr_ray.models.sam import SAM_CONFIGS, build_sam

    torch.manual_seed(0)
    words = dict.fromkeys(word for prompt in LUNG_PROMPTS for word in prompt.replace("-", " - ").split())
    save_clip_bundle(str(folder / "clip"), BiomedClip().eval(), PromptTokenizer([*SPECIAL_TOKENS, *words]))
    torch.save(build_sam(SAM_CONFIGS["vit_b"]).state_dict(), folder / "sam_vit_b.pth")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, required=True)
    kind = parser.add_mutually_exclusive_group(required=True)
    kind.add_argument("--model-uri", help="classifier bundle")
    kind.add_argument("--text", action="store_true", help="segment by text")
    parser.add_argument("--done", type=float, default=0.9, help="fraction of the images at which it is killed")
    parser.add_argument("--seconds", type=float, default=420.0, help="seconds after which segmentation is killed")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "images")
        draw(folder, arguments.images, 0)
        (segment if arguments.text else classify)(folder, Path(scratch), arguments)


if __name__ == "__main__":
    main()
