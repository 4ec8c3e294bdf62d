"""Config of the job that fits the weights by which inverted and rotated images are flagged."""

from dataclasses import dataclass

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class FitOrientationConfig:
    """Fit the weights that flag inverted and rotated images to upright radiographs of your own, and measure them on others."""

    dataset_uri: str
    """Dataset of prepare_dataset.py whose images are upright and not inverted; the train split is fitted, and the test split
    measures recall and false alarms. Labels are not used."""
    output_uri: str
    """JSON file that receives the weights, for --orientation-uri of the scoring jobs."""
    ridge: float = 2e-4
    """Penalty on the squared weights; a larger one suits fewer images."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(self.ridge > 0, "ridge", self.ridge, "> 0")
