"""Segment every image of an archive, by text or with a trained segmenter."""

from cxr_ray.config import SegmentConfig, run_job


def main(config: SegmentConfig) -> None:
    """Import late: Ray and torch take seconds, `--help` should not."""
    from cxr_ray.scoring.segment_archive import segment_archive

    segment_archive(config)


if __name__ == "__main__":
    run_job(SegmentConfig, main)
