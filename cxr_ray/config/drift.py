"""Config of the job that measures how far predictions of one archive are from those of another."""

from dataclasses import dataclass

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasureDriftConfig:
    """Compare two outputs of classify_archive.py: label mix, confidence and image statistics, each with a test."""

    reference_uri: str
    """Output of classify_archive.py that the other one is compared with, or the folder of Parquet files inside it."""
    current_uri: str
    """Output of classify_archive.py by the same model, or the folder of Parquet files inside it."""
    output_uri: str
    """Folder that receives drift.json, drift.txt, drift.parquet and drift.png."""
    columns: tuple[str, ...] = ()
    """More columns to compare, such as those that another program added; they are compared beside those that every
    prediction has."""
    level: float = 0.05
    """Probability of reporting any drift where there is none; p-values are corrected for the number of columns (Holm)."""
    min_effect: float = 0.1
    """Least effect size that counts as drift, 0 to 1, because among many images the smallest difference is significant."""
    fail_on_drift: bool = False
    """End with exit code 3 if any column drifted."""
    seed: int = 0
    """Seed of the choice of one image of each patient."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        require(0 < self.level < 1, "level", self.level, "between 0 and 1")
        require(0 <= self.min_effect <= 1, "min_effect", self.min_effect, "0 to 1")
        require(self.seed >= 0, "seed", self.seed, ">= 0")
