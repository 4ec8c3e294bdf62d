"""A short chaos run; CONTRIBUTING.md has the command of a long one."""

import pytest

from tests.faults.chaos import run_disturbed

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.slow]


def test_a_job_on_a_failing_store_whose_processes_are_killed_has_the_rows_of_a_quiet_one(save_random, tmp_path):
    save_random(tmp_path / "bundle")
    run = run_disturbed(str(tmp_path / "bundle"), 3, 0.05, 8, images_per_class=15, most_kills=3)
    assert run.verdict == "ok", (run.line(), run.errors)
    assert run.faults.total() > 0
    assert run.kills.total() > 0
