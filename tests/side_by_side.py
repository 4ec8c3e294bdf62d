"""Measure the same work in several checkouts: rounds alternate between their processes, so that all meet the same machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
_CODE = """
import runpy, sys
here, checkout, module = sys.argv[1:]
sys.path.insert(0, here)
import tests.side_by_side
sys.path.insert(0, checkout)  # the tests of this checkout measure the product of the other one
sys.argv = [module, "--serve"]
runpy.run_path(module, run_name="__main__")
"""


def measured_in_turn(module, case, *, against=None, rounds=5):
    """Results of the rounds of `case` by `serve` of the module's file, in `against` and in this checkout."""
    workers = [_worker(module, checkout) for checkout in (against, CHECKOUT) if checkout]
    for one in workers:
        _asked(one, case)  # what is done once, such as imports, is no part of the rounds
    results = [[_asked(one, case) for one in workers] for _ in range(rounds)]
    for one in workers:
        one.stdin.close()
        one.wait()
    return list(zip(*results, strict=True))


def serve(measure):
    """Answer cases on standard input by what `measure` returns for their values."""
    for line in sys.stdin:
        print(json.dumps(measure(*json.loads(line))), flush=True)


def use_one_core():
    """Keep this process and those that it starts on one core."""
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])


def _worker(module, checkout):
    command = [sys.executable, "-c", _CODE, str(CHECKOUT), str(checkout), module]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _asked(process, case):
    process.stdin.write(json.dumps(case) + "\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())
