"""Configs of the jobs that list an archive and make a dataset of it."""

from dataclasses import dataclass
from typing import Literal

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexConfig:
    """List an archive into a Parquet manifest; a second run reads only what is new or changed."""

    input_uri: str
    """Folder or prefix of the archive."""
    output_uri: str
    """The manifest: a name ending in .parquet, or a folder that will hold manifest.parquet."""
    exclude: tuple[str, ...] = ()
    """Shell patterns of names to leave out, relative to the input, such as '*/masks/*'."""
    recognise: Literal["content", "name"] = "content"
    """Read the first bytes of every new object to tell its format, or only where the name says nothing."""
    debug: bool = False
    """Show tracebacks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    """Make a dataset with labels, patients, masks, duplicate groups and splits of a folder of radiographs."""

    input_uri: str
    """Folder with CLASS/{images,masks}/*, CLASS/{train,val,test}_{images,masks}/*, or the same without CLASS."""
    output_uri: str
    """The dataset: a name ending in .parquet, or a folder that will hold dataset.parquet."""
    split: tuple[float, float, float] = (0.7, 0.2, 0.1)
    """Shares of train, val and test; ignored for images whose folder names a split."""
    seed: int = 0
    """Another seed gives another split."""
    near_duplicate_distance: int = 24
    """Bits of 256 in which perceptual hashes of near duplicates may differ; copies do in 0-18, strangers in over 41."""
    max_megapixels: float = 100.0
    """Larger images are errors; their pixels are never allocated."""
    max_megabytes: int = 512
    """Larger files are errors."""
    debug: bool = False
    """Show tracebacks."""

    def __post_init__(self) -> None:
        """Check shares and limits."""
        require(all(s >= 0 for s in self.split), "split", self.split, "three shares >= 0")
        require(abs(sum(self.split) - 1) < 1e-6, "split", self.split, "three shares that sum to 1")
        require(
            0 <= self.near_duplicate_distance <= 64,
            "near_duplicate_distance",
            self.near_duplicate_distance,
            "0 to 64",
        )
        require(self.max_megapixels > 0, "max_megapixels", self.max_megapixels, "> 0")
        require(self.max_megabytes > 0, "max_megabytes", self.max_megabytes, "> 0")
