"""Train a classifier on embeddings in seconds, and join it to the encoder as a bundle, without Ray."""

from cxr_ray.config import run_job
from cxr_ray.config.probing import TrainProbeConfig


def main(config: TrainProbeConfig) -> None:
    """Run the job; scikit-learn and torch are imported only here, so that `--help` answers at once."""
    from cxr_ray.probing.train_probe import train_probe

    train_probe(config)


if __name__ == "__main__":
    run_job(TrainProbeConfig, main)
