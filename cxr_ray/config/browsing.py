"""Config of the job that makes a page of predictions and masks."""

from dataclasses import dataclass
from typing import Literal, get_args

from cxr_ray.config.checks import require

ThumbnailChoice = Literal["random", "uncertain"]
MAX_ROWS = 500_000
"""Maximum of --max-rows; a browser holds all rows of the page in memory."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BrowseConfig:
    """Make a static page of the predictions and masks of an archive job: filters, thumbnails with outlines, a reading list."""

    predictions_uri: str
    """Output folder of classify_archive.py, segment_archive.py or score_archive.py, or the folder of Parquet files inside it."""
    output_uri: str
    """Folder that receives index.html, and the columns and thumbnails that the page loads."""
    masks_uri: str | None = None
    """Output of segment_archive.py or score_archive.py for the same images; None takes the masks of --predictions-uri, if
    it has any."""
    max_rows: int = 200_000
    """Maximum number of rows of the page, 1 to 500,000; of more rows, so many are drawn at random, and the page says so."""
    max_thumbnails: int = 2_000
    """Maximum number of thumbnails, which are made from the images themselves; 0 makes none. Other rows show no picture."""
    thumbnail_choice: ThumbnailChoice = "random"
    """Rows that get a thumbnail if there are more than --max-thumbnails: drawn at random, or those of the least confidence,
    which for masks without predictions are those of the most uncertainty."""
    thumbnail_side: int = 160
    """Longer side of a thumbnail in pixels, 32 to 512."""
    seed: int = 0
    """Seed of what is drawn at random."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check choices and ranges."""
        require(1 <= self.max_rows <= MAX_ROWS, "max_rows", self.max_rows, f"1 to {MAX_ROWS:,}")
        require(self.max_thumbnails >= 0, "max_thumbnails", self.max_thumbnails, ">= 0")
        choices = get_args(ThumbnailChoice)
        is_known = self.thumbnail_choice in choices
        require(is_known, "thumbnail_choice", self.thumbnail_choice, f"one of {', '.join(choices)}")
        require(32 <= self.thumbnail_side <= 512, "thumbnail_side", self.thumbnail_side, "32 to 512")
        require(self.seed >= 0, "seed", self.seed, ">= 0")
