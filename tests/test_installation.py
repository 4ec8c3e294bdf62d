"""The package is found wherever a job is started, by its workers, too."""

import os
import subprocess
import sys


def test_a_folder_named_like_the_package_hides_nothing(tmp_path):
    """Ray's workers look into the folder where a job was started, which often holds the clone of the repository."""
    (tmp_path / "cxr_ray/cluster").mkdir(parents=True)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    line = [sys.executable, "-c", "import cxr_ray.cluster.job_metrics"]
    ended = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
