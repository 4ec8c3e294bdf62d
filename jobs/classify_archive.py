"""Classify every image of an archive with one or more classifiers."""

from cxr_ray.config import ClassifyConfig, run_job


def main(config: ClassifyConfig) -> None:
    """Run the job; Ray and torch are imported only here, so that `--help` answers at once."""
    from cxr_ray.scoring.classify_archive import classify_archive

    classify_archive(config)


if __name__ == "__main__":
    run_job(ClassifyConfig, main)
