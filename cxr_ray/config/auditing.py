"""Config of the job that audits a classifier: does it read the lungs, or the source, the border and the letters of the images."""

from dataclasses import dataclass
from typing import Literal, get_args

from cxr_ray.config.checks import require, require_default
from cxr_ray.config.evaluation import MAX_DRAWS, SplitChoice

SplitName = Literal["train", "val", "test"]
FailOn = Literal["none", "fail", "warn"]
Limits = tuple[float, float]
"""The value above which a check warns, and the one above which it fails."""
LIMITS = ("outside_gain", "lungs_loss", "source_skill", "source_gain", "disturbed_loss", "leaked", "changed_answers")


@dataclass(frozen=True, kw_only=True, slots=True)
class AuditConfig:
    """Audit a classifier: where in the image its answers come from, whether it knows the source, what disturbs it, and what leaked."""

    model_uri: str
    """Classifier bundle to audit."""
    dataset_uri: str
    """Dataset of prepare_dataset.py, whose labels, patients, splits and lung masks are used."""
    output_uri: str
    """Folder that receives audit.json, audit.txt and figures."""
    segmenter_uri: str | None = None
    """Segmenter bundle of train_segmenter.py, which draws the lungs of every image; None takes the masks of the dataset."""
    source_column: str | None = None
    """Column that names the source of each image, such as a hospital or a scanner; None leaves the source unchecked."""
    metadata_uri: str | None = None
    """CSV or Parquet table that has --source-column and a column image_id or path; None takes the column of the dataset."""
    split: SplitChoice = "test"
    """Images that the classifier answers: one split of the dataset, or all of them."""
    retrain_splits: tuple[SplitName, ...] = ("val", "test")
    """Splits whose images probes learn from and are judged by, in folds by patient. Add train only if the network has not
    learned from these images, as an encoder of train_probe.py has not: else its features of them know their labels."""
    folds: int = 5
    """Number of folds of the probes, which keep the images of a patient together."""
    max_images: int = 2_000
    """Maximum number of images that are answered, and of those that probes learn from; of more, whole patients are drawn."""
    max_hashed_images: int = 20_000
    """Maximum number of images of the dataset among which copies are searched anew; of more, its column duplicate_group counts."""
    near_duplicate_distance: int = 24
    """Maximum number of differing bits (0 to 64, of 256) between the perceptual hashes of two images that count as copies."""
    border: float = 0.125
    """Width of the border, as a fraction of the side of the image."""
    corner: float = 0.2
    """Side of the square that is covered in each corner, as a fraction of the side of the image."""
    rotation: tuple[float, ...] = (5.0, 10.0, 20.0, 45.0)
    """Degrees of rotation; of this and the next four options the first, mild level is judged, and all are drawn."""
    noise: tuple[float, ...] = (5.0, 10.0, 20.0, 40.0)
    """Standard deviations of added noise in grey levels of 255."""
    jpeg: tuple[int, ...] = (50, 30, 15, 5)
    """Qualities of JPEG compression, 1 to 95."""
    brightness: tuple[float, ...] = (20.0, -20.0, 50.0, -50.0)
    """Grey levels that are added."""
    resolution: tuple[float, ...] = (0.5, 0.25, 0.125)
    """Fractions of the resolution that are kept, above 0 and below 1."""
    outside_gain: Limits = (0.05, 0.15)
    """Warning and failure: accuracy above the majority class from images without lungs, and from borders alone."""
    lungs_loss: Limits = (0.1, 0.25)
    """Warning and failure: accuracy that a probe loses if it sees the lungs alone."""
    heat_lift: Limits = (1.1, 1.0)
    """Warning and failure: heat inside the lungs divided by what their area alone would get; less is worse."""
    source_skill: Limits = (0.1, 0.3)
    """Warning and failure: how well a probe tells the sources of a class apart, 0 for chance and 1 for always."""
    source_gain: Limits = (0.05, 0.2)
    """Warning and failure: accuracy above the majority class that knowing the source alone gives."""
    disturbed_loss: Limits = (0.05, 0.15)
    """Warning and failure: accuracy that a mild disturbance costs."""
    leaked: Limits = (0.0, 0.01)
    """Warning and failure: fraction of the images that have a copy, or another image of their patient, in another split."""
    changed_answers: Limits = (0.05, 0.1)
    """Warning and failure: fraction of the answers that change as letters, text or corners are covered."""
    fail_on: FailOn = "none"
    """End with exit code 3 if the verdict is fail, or with warn also if it is warn."""
    engine: Literal["auto", "torch", "compile", "openvino"] = "auto"
    """Program that computes the models, in fp32; auto takes the fastest one that agrees with torch."""
    bootstrap_draws: int = 1000
    """Number of bootstrap resamples of patients for each interval that needs them, 10 to 100,000."""
    seed: int = 0
    """Seed of drawn patients, folds, noise and bootstrap."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check choices, ranges and the order of limits, and refuse options that would change nothing."""
        splits = get_args(SplitChoice)
        require(self.split in splits, "split", self.split, f"one of {', '.join(splits)}")
        require(bool(self.retrain_splits), "retrain_splits", self.retrain_splits, "at least one split")
        require(self.fail_on in get_args(FailOn), "fail_on", self.fail_on, f"one of {', '.join(get_args(FailOn))}")
        if self.source_column is None:
            require_default(self, "metadata_uri", needs="source_column")
        for name, least in (("folds", 3), ("max_images", 1), ("max_hashed_images", 0), ("seed", 0)):
            require(getattr(self, name) >= least, name, getattr(self, name), f">= {least}")
        in_range = 0 <= self.near_duplicate_distance <= 64
        require(in_range, "near_duplicate_distance", self.near_duplicate_distance, "0 to 64")
        in_range = 10 <= self.bootstrap_draws <= MAX_DRAWS
        require(in_range, "bootstrap_draws", self.bootstrap_draws, f"10 to {MAX_DRAWS:,}")
        for name in ("border", "corner"):
            require(0 < getattr(self, name) < 0.5, name, getattr(self, name), "above 0 and below 0.5")
        self._check_levels()
        for name in LIMITS:
            warn, fail = getattr(self, name)
            require(0 <= warn <= fail, name, (warn, fail), "two numbers >= 0, of which the second is not smaller")
        warn, fail = self.heat_lift
        require(warn >= fail >= 0, "heat_lift", self.heat_lift, "two numbers >= 0, of which the second is not larger")

    def _check_levels(self) -> None:
        """Check the levels of the disturbances."""
        for name in ("rotation", "noise", "jpeg", "brightness", "resolution"):
            require(bool(getattr(self, name)), name, getattr(self, name), "at least one level")
        require(all(sd > 0 for sd in self.noise), "noise", self.noise, "numbers > 0")
        require(all(1 <= quality <= 95 for quality in self.jpeg), "jpeg", self.jpeg, "numbers from 1 to 95")
        require(all(0 < part < 1 for part in self.resolution), "resolution", self.resolution, "numbers between 0 and 1")
