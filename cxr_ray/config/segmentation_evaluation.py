"""Config of the job that judges segmentations by a dataset."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from cxr_ray.config.checks import require
from cxr_ray.config.evaluation import SplitChoice

ToleranceUnit = Literal["px", "mm"]
MOST_DRAWS = 100_000


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSegmenterConfig:
    """Judge masks by the true masks of a dataset: metrics, a table of rows, a figure sheet and a report."""

    predictions_uri: str
    """Output of segment_archive, or the folder of Parquet files inside it."""
    dataset_uri: str
    """Dataset with the URIs of the true masks: a Parquet file or a folder of them."""
    output_uri: str
    """Folder that receives metrics.json, report.txt, report.html, segmentations.png and rows.parquet."""
    compare_uris: tuple[str, ...] = ()
    """Outputs of other segmenters for the same images, such as a teacher's; they stand beside it in one table."""
    split: SplitChoice = "test"
    """Images to judge by: one split of the dataset, or all."""
    tolerance: float = 2.0
    """Distance up to which NSD takes a boundary pixel for right, in `tolerance_unit`."""
    tolerance_unit: ToleranceUnit = "px"
    """Unit of the tolerance and of HD95: pixels of the predicted masks, or mm."""
    pixel_spacing_mm: float | None = None
    """Side of a pixel of the predicted masks, the same for every image; goes with --tolerance-unit mm."""
    bootstrap_draws: int = 1000
    """Resamples behind each interval."""
    seed: int = 0
    """Of the resamples; the same rows always have the same intervals."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check every choice, and that a spacing is there where mm are asked for and nowhere else."""
        for name, kind in (("split", SplitChoice), ("tolerance_unit", ToleranceUnit)):
            choices = get_args(kind)
            require(getattr(self, name) in choices, name, getattr(self, name), f"one of {', '.join(choices)}")
        within = math.isfinite(self.tolerance) and self.tolerance >= 0
        require(within, "tolerance", self.tolerance, "a finite number >= 0")
        spacing = self.pixel_spacing_mm
        if self.tolerance_unit == "px":
            require(spacing is None, "pixel_spacing_mm", spacing, "left out where tolerance_unit is px")
        else:
            known = spacing is not None and math.isfinite(spacing) and spacing > 0
            require(known, "pixel_spacing_mm", spacing, "a finite number > 0 where tolerance_unit is mm")
        in_range = 1 <= self.bootstrap_draws <= MOST_DRAWS
        require(in_range, "bootstrap_draws", self.bootstrap_draws, f"1 to {MOST_DRAWS:,}")
        require(self.seed >= 0, "seed", self.seed, ">= 0")
