"""Make a dataset from a folder of radiographs: labels, patients, masks, groups of copies, and splits."""

from cxr_ray.config import PrepareConfig, run_job


def main(config: PrepareConfig) -> None:
    """Run the job; Ray is imported only here, so that `--help` answers at once."""
    from cxr_ray.preparation.prepare_dataset import prepare_dataset

    prepare_dataset(config)


if __name__ == "__main__":
    run_job(PrepareConfig, main)
