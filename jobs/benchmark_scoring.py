"""Measure how fast an archive is scored, compared with the forward pass alone and with a plain PyTorch loop."""

from cxr_ray.config import BenchmarkConfig, run_job


def main(config: BenchmarkConfig) -> None:
    """Run the job; Ray and torch are imported only here, so that `--help` answers at once."""
    from cxr_ray.benchmarks.benchmark_scoring import benchmark_scoring

    benchmark_scoring(config)


if __name__ == "__main__":
    run_job(BenchmarkConfig, main)
