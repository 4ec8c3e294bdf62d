"""Say how long scoring an archive takes, how many machines finish it in time and what it costs."""

from cxr_ray.config import PlanConfig, run_job


def main(config: PlanConfig) -> None:
    """Run the job; Ray and torch are imported only here, so that `--help` answers at once."""
    from cxr_ray.benchmarks.plan_archive import plan_archive

    plan_archive(config)


if __name__ == "__main__":
    run_job(PlanConfig, main)
