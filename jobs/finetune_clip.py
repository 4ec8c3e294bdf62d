"""Fine-tune BiomedCLIP on images and captions with Ray Train."""

from cxr_ray.config import FinetuneClipConfig, run_job


def main(config: FinetuneClipConfig) -> None:
    """Run the job; Ray and torch are imported only here, so that `--help` answers at once."""
    from cxr_ray.training.clip.finetune_clip import finetune_clip

    finetune_clip(config)


if __name__ == "__main__":
    run_job(FinetuneClipConfig, main)
