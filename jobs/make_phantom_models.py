"""Train a small BiomedCLIP and a small SAM on drawn phantoms, to try segmentation by text."""

from cxr_ray.config import PhantomModelsConfig, run_job


def main(config: PhantomModelsConfig) -> None:
    """Run the job; torch is imported only here, so that `--help` answers at once."""
    from cxr_ray.phantoms.make_phantom_models import make_phantom_models

    make_phantom_models(config)


if __name__ == "__main__":
    run_job(PhantomModelsConfig, main)
