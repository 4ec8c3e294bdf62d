"""Compute the embedding of every image of an archive with one or more encoders."""

from cxr_ray.config import EmbedConfig, run_job


def main(config: EmbedConfig) -> None:
    """Run the job; Ray and torch are imported only here, so that `--help` answers at once."""
    from cxr_ray.scoring.embed_archive import embed_archive

    embed_archive(config)


if __name__ == "__main__":
    run_job(EmbedConfig, main)
