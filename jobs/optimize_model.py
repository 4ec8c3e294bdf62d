"""Give a classifier an int8 network for CPUs, and compare it with the original on the val images of a dataset."""

from cxr_ray.config import OptimizeConfig, run_job


def main(config: OptimizeConfig) -> None:
    """Run the job; torch is imported only here, so that `--help` answers at once."""
    from cxr_ray.models.optimize_model import optimize_model

    optimize_model(config)


if __name__ == "__main__":
    run_job(OptimizeConfig, main)
