"""Classify a few images, segment their lungs and draw the results, in this process and without Ray."""

from cxr_ray.config import PredictConfig, run_job


def main(config: PredictConfig) -> None:
    """Run the job; torch is imported only here, so that `--help` answers at once."""
    from cxr_ray.evaluation.predict_images import predict_images

    predict_images(config)


if __name__ == "__main__":
    run_job(PredictConfig, main)
