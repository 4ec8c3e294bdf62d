"""Measure segmenting by a student beside its forward pass, and the cascade beside its jobs."""

from cxr_ray.config import BenchmarkCascadeConfig, run_job


def main(config: BenchmarkCascadeConfig) -> None:
    """Import late: Ray and torch take seconds, `--help` should not."""
    from cxr_ray.benchmarks.benchmark_cascade import benchmark_cascade

    benchmark_cascade(config)


if __name__ == "__main__":
    run_job(BenchmarkCascadeConfig, main)
