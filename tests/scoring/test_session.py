"""A cluster of the job's own."""

import subprocess
import sys

import pytest

WORKERS_PRIORITY = """
import os, ray
from cxr_ray.scoring.session import ray_session
with ray_session():
    print(os.nice(0), ray.get(ray.remote(lambda: os.nice(0)).remote()))
"""


@pytest.mark.cluster
@pytest.mark.slow
def test_workers_of_a_cluster_of_its_own_have_the_jobs_priority(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    done = subprocess.run([sys.executable, "-c", WORKERS_PRIORITY], capture_output=True, text=True, check=True)
    ours, theirs = done.stdout.split()
    assert theirs == ours
