"""Config of the job that makes a classifier faster and says what that costs."""

from dataclasses import dataclass

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizeConfig:
    """Give a classifier an int8 network for CPUs, and compare it with the original on the val images of your dataset."""

    model_uri: str
    """Classifier bundle of train_classifier.py or import_model.py."""
    dataset_uri: str
    """Dataset of prepare_dataset.py: images of its train split calibrate the int8 network, and its val split compares it."""
    output_uri: str
    """Folder that becomes the optimised bundle: the original weights and the int8 network."""
    calibration_images: int = 300
    """Number of images of the train split, drawn at random, whose activations give the ranges of the int8 numbers."""
    max_loss: float = 0.005
    """Maximum loss of accuracy on the val split, 0 to 1; a network that loses more is refused, and nothing is written."""
    seed: int = 0
    """Seed of the choice of calibration images and of the bootstrap."""
    overwrite: bool = False
    """Replace a bundle that is at the output."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.calibration_images >= 1, "calibration_images", self.calibration_images, ">= 1")
        require(0 <= self.max_loss <= 1, "max_loss", self.max_loss, "between 0 and 1")
        require(self.seed >= 0, "seed", self.seed, ">= 0")
