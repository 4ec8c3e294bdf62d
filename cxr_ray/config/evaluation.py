"""Configs of the jobs that judge predictions by a dataset."""

from dataclasses import dataclass
from typing import Literal, get_args

from cxr_ray.config.checks import require

SplitChoice = Literal["train", "val", "test", "all"]
MOST_STRIP_IMAGES = 64  # fetched together, and inlined in a page that should open at once


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateClassifierConfig:
    """Judge predictions by the labels of a dataset: metrics, a table of rows and a report."""

    predictions_uri: str
    """Output of classify_archive, or the folder of Parquet files inside it."""
    dataset_uri: str
    """Dataset with the true labels: a Parquet file or a folder of them."""
    output_uri: str
    """Folder that receives metrics.json, report.txt, report.html, confusion_matrix.png and rows.parquet."""
    split: SplitChoice = "test"
    """Images to judge by: one split of the dataset, or all."""
    strip_images: int = 16
    """Scored images that the report shows; 0 for none."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check the choice of split and the length of the strip."""
        splits = get_args(SplitChoice)
        require(self.split in splits, "split", self.split, f"one of {', '.join(splits)}")
        in_range = 0 <= self.strip_images <= MOST_STRIP_IMAGES
        require(in_range, "strip_images", self.strip_images, f"0 to {MOST_STRIP_IMAGES}")
