"""Measure what scoring an archive reaches, beside its limit and a plain loop."""

from cxr_ray.config import BenchmarkConfig, run_job


def main(config: BenchmarkConfig) -> None:
    """Import late: Ray and torch take seconds, `--help` should not."""
    from cxr_ray.benchmarks.benchmark_scoring import benchmark_scoring

    benchmark_scoring(config)


if __name__ == "__main__":
    run_job(BenchmarkConfig, main)
