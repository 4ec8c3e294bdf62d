"""Train a classifier with Ray Train, or several with Ray Tune."""

import sys

from cxr_ray.config import TrainClassifierConfig, run_job


def main(config: TrainClassifierConfig) -> None:
    """Run the job; Ray and torch are imported only here, so that `--help` answers at once."""
    from cxr_ray.training.classifier.sweep import sweep_classifiers
    from cxr_ray.training.classifier.train_classifier import train_classifier

    sweep_classifiers(sys.argv[1:]) if config.sweep else train_classifier(config)


if __name__ == "__main__":
    run_job(TrainClassifierConfig, main)
