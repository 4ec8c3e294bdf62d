"""Config of the job that evaluates segmentations against a dataset."""

import math
from dataclasses import dataclass
from typing import get_args

from cxr_ray.config.checks import require
from cxr_ray.config.evaluation import SplitChoice
from cxr_ray.config.quality import require_flags


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
    exclude_flags: tuple[str, ...] = ()
    """Quality flags (column qc_flags of the rows) of images that are left out, such as inverted or rotated_90."""
    tolerance: float = 2.0
    """Maximum distance in pixels at which NSD counts a boundary pixel as correct."""
    tolerance_mm: float = 2.0
    """Maximum distance in millimetres at which NSD counts a boundary pixel as correct, for images whose pixel spacing is known."""
    pixel_spacing_mm: float | None = None
    """Side of a pixel in millimetres of the images whose file states no pixel spacing; None leaves these without distances in
    millimetres."""
    fill_holes: bool = False
    """Fill the holes of predicted masks before they are compared."""
    lungs: bool = False
    """The masks are of both lungs: evaluate the right and the left lung of the patient apart, too."""
    second_masks_uri: str | None = None
    """Masks of another reader: a folder of masks named like their images, or a Parquet table with image_id and mask_uri. The
    agreement of the two readers is reported beside that of the predictions with each, on the same images."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check the split and the ranges of distances."""
        choices = get_args(SplitChoice)
        require(self.split in choices, "split", self.split, f"one of {', '.join(choices)}")
        require_flags(self.exclude_flags)
        for name in ("tolerance", "tolerance_mm"):
            value = getattr(self, name)
            require(math.isfinite(value) and value >= 0, name, value, "a finite number >= 0")
        spacing = self.pixel_spacing_mm
        is_spacing = spacing is None or (math.isfinite(spacing) and spacing > 0)
        require(is_spacing, "pixel_spacing_mm", spacing, "a finite number > 0")
