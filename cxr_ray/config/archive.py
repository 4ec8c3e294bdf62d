"""Configs of the jobs that list an archive and make a dataset of it."""

from dataclasses import dataclass
from typing import Literal

from cxr_ray.config.checks import require
from cxr_ray.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexConfig:
    """List the images of an archive into a Parquet manifest; a second run reads only new or changed files."""

    input_uri: str
    """Folder or prefix whose images are listed: a local path, s3:// or any other scheme of fsspec."""
    output_uri: str
    """Manifest to write or to update: a name that ends in .parquet, or a folder that receives manifest.parquet."""
    exclude: tuple[str, ...] = ()
    """Shell patterns of names to leave out, relative to --input-uri; '*/masks/*' leaves out COVID/masks/1.png
    and masks/1.png."""
    recognise: Literal["content", "name"] = "content"
    """How the format of a file is found: content reads the first bytes of every new file, name trusts the file name and
    reads only files whose name says nothing."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ReconcileConfig:
    """Check that a table holds exactly one row for each image of a manifest; the exit code is 1 if it does not."""

    manifest_uri: str
    """Manifest of the images: a Parquet file or a folder of them, such as the manifest of index_archive.py."""
    predictions_uri: str
    """Output folder of a job that scores archives, or its table of rows."""
    output_uri: str = ""
    """JSON file to write, with the same figures as the text on the terminal; none by default."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    """Make a dataset from a folder of radiographs: labels, patients, masks, groups of copies, and splits."""

    input_uri: str
    """Folder or prefix with CLASS/images/* and optionally CLASS/masks/* (or CLASS/train_images/*, CLASS/train_masks/*
    and so on for given splits); CLASS may be missing."""
    output_uri: str
    """Dataset to write: a name that ends in .parquet, or a folder that receives dataset.parquet."""
    labels_uri: tuple[str, ...] = ()
    """Tables of findings (CSV, CSV.gz or Parquet) for images of several findings each; all images below --input-uri, in any
    folders, are joined with them by name or path."""
    label_recipe: str | None = None
    """How the tables of --labels-uri are read: nih, chexpert, mimic, or a TOML file that says which columns hold the path, the
    patient, the split and the findings."""
    split: tuple[float, float, float] = (0.7, 0.2, 0.1)
    """Fractions of the images in train, val and test, which sum to 1; ignored where folder names or tables give the split."""
    seed: int = 0
    """Seed of the random split; the same seed and images always give the same split."""
    near_duplicate_distance: int = 24
    """Maximum number of differing bits (0 to 64, of 256) between the perceptual hashes of two images that count as
    copies. Copies were measured to differ in 0 to 18 bits, unrelated images in more than 41."""
    max_megapixels: float = 100.0
    """Images with more megapixels are left out with a warning, before any pixel is decoded."""
    max_megabytes: int = 512
    """Files of more megabytes, on disk or decoded, are left out with a warning."""
    max_decode_seconds: float = 4.0
    """CPU seconds that a decoder may take for a file, in addition to one second for each MB of the file; files that take
    longer are left out with a warning."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check that the fractions of the split sum to 1, that the limits are in range, and that tables have a recipe."""
        if bool(self.labels_uri) != bool(self.label_recipe):
            given, lacking = ("labels_uri", "label_recipe") if self.labels_uri else ("label_recipe", "labels_uri")
            raise ConfigError(f"{given} {getattr(self, given)!r} needs {lacking}; add it")
        require(all(s >= 0 for s in self.split), "split", self.split, "three fractions >= 0")
        require(abs(sum(self.split) - 1) < 1e-6, "split", self.split, "three fractions that sum to 1")
        require(
            0 <= self.near_duplicate_distance <= 64,
            "near_duplicate_distance",
            self.near_duplicate_distance,
            "0 to 64",
        )
        require(self.max_megapixels > 0, "max_megapixels", self.max_megapixels, "> 0")
        require(self.max_megabytes > 0, "max_megabytes", self.max_megabytes, "> 0")
        require(self.max_decode_seconds > 0, "max_decode_seconds", self.max_decode_seconds, "> 0")
