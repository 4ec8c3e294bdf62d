"""Config of the job that evaluates segmentations against a dataset."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from cxr_ray.config.checks import require
from cxr_ray.config.evaluation import SplitChoice

ToleranceUnit = Literal["px", "mm"]
MAX_DRAWS = 100_000
"""Maximum of --bootstrap-draws."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateSegmenterConfig:
    """Evaluate masks against the true masks of a dataset: metrics, figures, a table with a row per image, and an HTML report."""

    predictions_uri: str
    """Output folder of segment_archive.py, or the folder of Parquet files inside it."""
    dataset_uri: str
    """Dataset with the URIs of the true masks: a Parquet file or a folder of Parquet files; rows are matched by
    image_id."""
    output_uri: str
    """Folder that receives metrics.json, report.txt, report.html, segmentations.png and rows.parquet."""
    compare_uris: tuple[str, ...] = ()
    """Outputs of other segmentations of the same images; their metrics are shown beside those of --predictions-uri."""
    split: SplitChoice = "test"
    """Images to evaluate: one split of the dataset, or all of them."""
    tolerance: float = 2.0
    """Maximum distance, in --tolerance-unit, at which NSD counts a boundary pixel as correct."""
    tolerance_unit: ToleranceUnit = "px"
    """Unit of --tolerance and of HD95: pixels of the image, or millimetres."""
    pixel_spacing_mm: float | None = None
    """Side of a pixel in millimetres, the same for every image; needed for --tolerance-unit mm, and refused otherwise."""
    bootstrap_draws: int = 1000
    """Number of bootstrap resamples for each confidence interval, 1 to 100,000."""
    seed: int = 0
    """Seed of the bootstrap; the same rows and seed always give the same intervals."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check choices and ranges, and that a pixel spacing is given if distances are in mm, and only then."""
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
        in_range = 1 <= self.bootstrap_draws <= MAX_DRAWS
        require(in_range, "bootstrap_draws", self.bootstrap_draws, f"1 to {MAX_DRAWS:,}")
        require(self.seed >= 0, "seed", self.seed, ">= 0")
