"""Classify pictures named on the command line and draw what the models saw; no Ray is started."""

from cxr_ray.config import PredictConfig, run_job


def main(config: PredictConfig) -> None:
    """Import late: torch takes seconds, `--help` should not."""
    from cxr_ray.evaluation.predict_images import predict_images

    predict_images(config)


if __name__ == "__main__":
    run_job(PredictConfig, main)
