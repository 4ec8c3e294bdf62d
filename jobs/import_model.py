"""Turn weights that somebody else trained into a model bundle, without training and without Ray."""

from cxr_ray.config import ImportConfig, run_job


def main(config: ImportConfig) -> None:
    """Run the job; torch is imported only here, so that `--help` answers at once."""
    from cxr_ray.models.import_model import import_model

    import_model(config)


if __name__ == "__main__":
    run_job(ImportConfig, main)
