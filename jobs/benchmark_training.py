"""Measure how fast Ray Train trains a classifier, compared with a plain PyTorch loop."""

from cxr_ray.config import BenchmarkTrainingConfig, run_job


def main(config: BenchmarkTrainingConfig) -> None:
    """Run the job; Ray and torch are imported only here, so that `--help` answers at once."""
    from cxr_ray.benchmarks.benchmark_training import benchmark_training

    benchmark_training(config)


if __name__ == "__main__":
    run_job(BenchmarkTrainingConfig, main)
