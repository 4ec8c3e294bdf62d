"""Train a segmenter on true masks, or on masks of segment_archive.py."""

from cxr_ray.config import TrainSegmenterConfig, run_job


def main(config: TrainSegmenterConfig) -> None:
    """Import late: Ray takes seconds, `--help` should not."""
    from cxr_ray.training.segmenter.train_segmenter import train_segmenter

    train_segmenter(config)


if __name__ == "__main__":
    run_job(TrainSegmenterConfig, main)
