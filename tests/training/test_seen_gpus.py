"""GPUs that a node offers to Ray and that torch does not see."""

import os
import socket
import sys

import pytest
import torch

from tests.faults.commands import REPOSITORY, finish, start
from tests.training.small_trainings import write_squares

JOB = "\n".join(
    [
        "import ray, runpy, sys",
        "ray.init('local', num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False, logging_level='ERROR')",
        "del sys.argv[0]",
        "runpy.run_path(sys.argv[0], run_name='__main__')",
    ]
)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU here")
def test_a_node_whose_gpus_torch_does_not_see_is_named_on_one_line(short_folder, tmp_path):
    """Two workers fit on the two GPUs of the node, and end before NCCL does."""
    flags = {"dataset-uri": write_squares(tmp_path), "output-uri": tmp_path / "model", "num-workers": 2}
    flags |= {"backbone": "efficientnet_b0", "image-size": 32}
    argv = [part for name, value in flags.items() for part in (f"--{name}", str(value))]
    line = [sys.executable, "-c", JOB, str(REPOSITORY / "jobs/train_classifier.py"), *argv, "--use-gpu"]
    forked = {name: value for name, value in os.environ.items() if name == "CXR_RAY_FORKED_WORKERS"}
    job = start(line, RAY_TMPDIR=str(short_folder), **forked)
    assert finish(job) == 1
    assert (
        f"torch sees no GPU on {socket.gethostname()}, which offers GPUs to Ray; install" in job.said.splitlines()[-1]
    )
