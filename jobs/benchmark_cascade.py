"""Measure how fast a segmenter and the cascade run, compared with the forward pass alone and with the single jobs."""

from cxr_ray.config import BenchmarkCascadeConfig, run_job


def main(config: BenchmarkCascadeConfig) -> None:
    """Run the job; Ray and torch are imported only here, so that `--help` answers at once."""
    from cxr_ray.benchmarks.benchmark_cascade import benchmark_cascade

    benchmark_cascade(config)


if __name__ == "__main__":
    run_job(BenchmarkCascadeConfig, main)
