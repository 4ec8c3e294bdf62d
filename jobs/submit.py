"""Run another job on a Ray cluster: submit it or attach to it, follow its log, and end with its exit code."""

import sys
from pathlib import Path

from cxr_ray.config.command_line import run_job
from cxr_ray.config.submission import SubmitConfig, with_job_first

ROOT = Path(__file__).parents[1]


def main(config: SubmitConfig) -> None:
    """Run the job; Ray is imported only here, so that `--help` answers at once."""
    from cxr_ray.cluster.submit_job import submit_job

    sys.exit(submit_job(config, ROOT))


if __name__ == "__main__":
    run_job(SubmitConfig, main, with_job_first(sys.argv[1:], [path.stem for path in ROOT.glob("jobs/*.py")]))
