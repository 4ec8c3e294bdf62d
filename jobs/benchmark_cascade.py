"""Measure how fast a segmenter and the cascade run, compared with the forward pass alone and with the single jobs."""

from cxr_ray.config import BenchmarkCascadeConfig, run_job


def main(config: BenchmarkCascadeConfig) -> None:
    """Import late: Ray and torch take seconds, `--help` should not."""
    from cxr_ray.benchmarks.benchmark_cascade import benchmark_cascade

    benchmark_cascade(config)


if __name__ == "__main__":
    run_job(BenchmarkCascadeConfig, main)
