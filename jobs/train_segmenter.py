"""Train a segmenter on true masks, or on masks of segment_archive.py."""

from cxr_ray.config import TrainSegmenterConfig, run_job


def main(config: TrainSegmenterConfig) -> None:
    """Run the job; Ray is imported only here, so that `--help` answers at once."""
    from cxr_ray.training.segmenter.train_segmenter import train_segmenter

    train_segmenter(config)


if __name__ == "__main__":
    run_job(TrainSegmenterConfig, main)
