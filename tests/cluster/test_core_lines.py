import os
import subprocess
import sys

import pytest

CORE = "[2026-11-26 06:18:12,487 I 27996 27996] logging.cc:303: Set ray log level from environment variable to 3"
BLOCK = f"""
import os, sys
from cxr_ray.cluster.core_lines import without_core_lines
print("before", file=sys.stderr)
with without_core_lines():
    os.write(2, b"{CORE}\\n")
    print("12:00:00 W ours, core_worker.cc:1: quoted", file=sys.stderr)
    os.write(2, b"no end of line")
    if len(sys.argv) > 1:
        raise OSError("failed")
os.write(2, b"\\nafter\\n")
"""


@pytest.mark.parametrize("fails", [False, True])
def test_only_lines_of_the_core_are_dropped_and_only_if_all_goes_well(fails):
    line = [sys.executable, "-c", BLOCK, *["fail"] * fails]
    lines = subprocess.run(line, capture_output=True, text=True, check=False, env=os.environ).stderr.splitlines()
    expected = ["before", *[CORE] * fails, "12:00:00 W ours, core_worker.cc:1: quoted"]
    assert lines[: len(expected)] == expected
    if fails:
        assert lines[-1] == "OSError: failed"
    else:
        assert lines[len(expected) :] == ["no end of line", "after"]


def test_a_process_without_standard_error_runs_on():
    line = (
        f"exec {sys.executable} -c 'import cxr_ray.cluster.core_lines as c\nwith c.without_core_lines(): print(1)' 2>&-"
    )
    assert subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout == "1\n"
