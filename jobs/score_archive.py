"""Classify every image of an archive and, in the same pass, segment the images that a rule on the class asks for."""

from cxr_ray.config import ScoreConfig, run_job


def main(config: ScoreConfig) -> None:
    """Run the job; Ray is imported only here, so that `--help` answers at once."""
    from cxr_ray.scoring.score_archive import score_archive

    score_archive(config)


if __name__ == "__main__":
    run_job(ScoreConfig, main)
