"""Choose uncertain and diverse images by their embeddings, and write them as a CSV file to be labelled, without Ray."""

from cxr_ray.config import run_job
from cxr_ray.config.probing import SelectConfig


def main(config: SelectConfig) -> None:
    """Run the job; its libraries are imported only here, so that `--help` answers at once."""
    from cxr_ray.probing.select_for_labelling import select_for_labelling

    select_for_labelling(config)


if __name__ == "__main__":
    run_job(SelectConfig, main)
