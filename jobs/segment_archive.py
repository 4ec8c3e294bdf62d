"""Segment every image of an archive, by text or with a trained segmenter."""

from cxr_ray.config import SegmentConfig, run_job


def main(config: SegmentConfig) -> None:
    """Run the job; Ray and torch are imported only here, so that `--help` answers at once."""
    from cxr_ray.scoring.segment_archive import segment_archive

    segment_archive(config)


if __name__ == "__main__":
    run_job(SegmentConfig, main)
