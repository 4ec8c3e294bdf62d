"""Config of the job that evaluates predictions against a dataset, and the choice of splits of both evaluations."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from cxr_ray.config.checks import require, require_default
from cxr_ray.config.quality import require_flags

SplitChoice = Literal["train", "val", "test", "all"]
MAX_STRIP_IMAGES = 64
"""Maximum of --strip-images; these images are downloaded together and embedded in a page that should open at once."""
MAX_DRAWS = 100_000
"""Maximum of --bootstrap-draws."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateClassifierConfig:
    """Evaluate predictions against the labels of a dataset: metrics, figures, a table with a row per image, and an HTML report."""

    predictions_uri: str
    """Output folder of classify_archive.py, or the folder of Parquet files inside it."""
    dataset_uri: str
    """Dataset with the true labels: a Parquet file or a folder of Parquet files; rows are matched by image_id."""
    output_uri: str
    """Folder that receives metrics.json, report.txt, report.html, figures and rows.parquet."""
    split: SplitChoice = "test"
    """Images to evaluate: one split of the dataset, or all of them."""
    exclude_flags: tuple[str, ...] = ()
    """Quality flags (column qc_flags of the rows) of images that are left out, such as inverted or rotated_90."""
    model_uri: str | None = None
    """Bundle of the model, whose temperature tells the probabilities before calibration; None takes the bundle that run.json of
    the predictions names."""
    prevalence: tuple[str, ...] = ()
    """Prevalences at which PPV and NPV are computed, too: one number between 0 and 1 for every class, or LABEL=NUMBER for
    some of them."""
    subgroups: tuple[str, ...] = ()
    """Columns of the predictions, the dataset or --metadata-uri; the images of each value are evaluated apart."""
    metadata_uri: str | None = None
    """CSV or Parquet table with more columns for --subgroups, and a column image_id or path that names the image."""
    compare_uris: tuple[str, ...] = ()
    """Predictions of other models for the same images; each is compared with those of --predictions-uri, and so is the mean
    of all models."""
    label_map: tuple[str, ...] = ()
    """Labels of another dataset in the words of the model, THEIRS=OURS; THEIRS= leaves the images of a label out."""
    internal_uri: str | None = None
    """Report of this job for the same model on its own test split; its figures are shown beside those of this dataset, and
    its thresholds are used."""
    target_sensitivity: float = 0.95
    """Sensitivity that an operating point of each class reaches on the val split."""
    target_specificity: float = 0.95
    """Specificity that another operating point of each class reaches on the val split."""
    target_accuracy: float = 0.95
    """Accuracy that the images above the threshold of abstention reach on the val split."""
    abstain_below: float | None = None
    """Confidence below which the model abstains; None chooses it on the val split for --target-accuracy."""
    audit_uri: str | None = None
    """Output of audit_classifier.py for the same model, or its audit.json; the report shows its verdicts."""
    strip_images: int = 16
    """Number of example images in the report, 0 to 64; 0 shows none."""
    bootstrap_draws: int = 1000
    """Number of bootstrap resamples of patients for each confidence interval that needs them, 10 to 100,000."""
    seed: int = 0
    """Seed of the bootstrap; the same rows and seed always give the same intervals."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check choices and ranges, the form of prevalences and of the label map, and options that would change nothing."""
        splits = get_args(SplitChoice)
        require(self.split in splits, "split", self.split, f"one of {', '.join(splits)}")
        require_flags(self.exclude_flags)
        in_range = 0 <= self.strip_images <= MAX_STRIP_IMAGES
        require(in_range, "strip_images", self.strip_images, f"0 to {MAX_STRIP_IMAGES}")
        in_range = 10 <= self.bootstrap_draws <= MAX_DRAWS
        require(in_range, "bootstrap_draws", self.bootstrap_draws, f"10 to {MAX_DRAWS:,}")
        require(self.seed >= 0, "seed", self.seed, ">= 0")
        for name in ("target_sensitivity", "target_specificity", "target_accuracy"):
            value = getattr(self, name)
            require(0 < value <= 1, name, value, "above 0 and at most 1")
        if self.abstain_below is not None:
            require(0 <= self.abstain_below <= 1, "abstain_below", self.abstain_below, "0 to 1")
        if not self.subgroups:
            require_default(self, "metadata_uri", needs="subgroups")
        self.prevalences()
        self.labels_mapped()

    def prevalences(self) -> dict[str | None, float]:
        """Prevalence by label; None is the key of the prevalence of every class.

        Raises:
            ConfigError: if a value is not of the form, is not between 0 and 1, or is given twice.
        """
        found: dict[str | None, float] = {}
        for entry in self.prevalence:
            label, equals, number = entry.rpartition("=")
            known = label if equals else None
            value = _number(number)
            once = known not in found and (None not in found or not found)
            require(
                0 < value < 1 and once, "prevalence", entry, "one NUMBER or LABEL=NUMBER of each label, between 0 and 1"
            )
            found[known] = value
        require(
            None not in found or len(found) == 1, "prevalence", self.prevalence, "one number, or one for each label"
        )
        return found

    def labels_mapped(self) -> dict[str, str | None]:
        """Our label by their label; None for a label whose images are left out.

        Raises:
            ConfigError: if an entry is not of the form THEIRS=OURS, or a label is mapped twice.
        """
        found: dict[str, str | None] = {}
        for entry in self.label_map:
            theirs, equals, ours = entry.rpartition("=")
            form = bool(equals and theirs.strip()) and theirs.strip() not in found
            require(form, "label_map", entry, "THEIRS=OURS, or THEIRS= to leave images out, once for each label")
            found[theirs.strip()] = ours.strip() or None
        return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
