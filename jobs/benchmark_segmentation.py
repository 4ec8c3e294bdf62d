"""Measure the stages of segmentation by text, and compare saliency with the published loop."""

from cxr_ray.config import BenchmarkSegmentationConfig, run_job


def main(config: BenchmarkSegmentationConfig) -> None:
    """Run the job; torch is imported only here, so that `--help` answers at once."""
    from cxr_ray.benchmarks.benchmark_segmentation import benchmark_segmentation

    benchmark_segmentation(config)


if __name__ == "__main__":
    run_job(BenchmarkSegmentationConfig, main)
