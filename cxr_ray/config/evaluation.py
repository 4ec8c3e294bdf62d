"""Config of the job that evaluates predictions against a dataset, and the choice of splits of both evaluations."""

from dataclasses import dataclass
from typing import Literal, get_args

from cxr_ray.config.checks import require

SplitChoice = Literal["train", "val", "test", "all"]
MAX_STRIP_IMAGES = 64
"""Maximum of --strip-images; these images are downloaded together and embedded in a page that should open at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateClassifierConfig:
    """Evaluate predictions against the labels of a dataset: metrics, figures, a table with a row per image, and an HTML report."""

    predictions_uri: str
    """Output folder of classify_archive.py, or the folder of Parquet files inside it."""
    dataset_uri: str
    """Dataset with the true labels: a Parquet file or a folder of Parquet files; rows are matched by image_id."""
    output_uri: str
    """Folder that receives metrics.json, report.txt, report.html, confusion_matrix.png and rows.parquet."""
    split: SplitChoice = "test"
    """Images to evaluate: one split of the dataset, or all of them."""
    strip_images: int = 16
    """Number of example images in the report, 0 to 64; 0 shows none."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check the choice of split and the number of example images."""
        splits = get_args(SplitChoice)
        require(self.split in splits, "split", self.split, f"one of {', '.join(splits)}")
        in_range = 0 <= self.strip_images <= MAX_STRIP_IMAGES
        require(in_range, "strip_images", self.strip_images, f"0 to {MAX_STRIP_IMAGES}")
