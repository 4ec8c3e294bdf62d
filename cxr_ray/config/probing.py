"""Configs of the jobs that work on embeddings: training a probe, and choosing images for labelling."""

from dataclasses import dataclass
from typing import Literal

from cxr_ray.config.checks import require


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainProbeConfig:
    """Train a linear classifier on embeddings, judge it on patients that it has not seen, and join it to the encoder as a classifier bundle."""

    embeddings_uri: str
    """Output folder of embed_archive.py, or a Parquet file of it."""
    dataset_uri: tuple[str, ...]
    """One or more tables of labels, joined by image_id: a dataset of prepare_dataset.py, or a CSV or Parquet table with the
    columns image_id and label, and optionally patient_id and split."""
    output_uri: str
    """Folder that becomes the model bundle; it also receives probe.json and cross_validation.parquet."""
    model_uri: str | None = None
    """Bundle of the encoder; if not given, the one that the run.json beside the embeddings names."""
    column: str | None = None
    """Column of the embeddings; needed if several encoders made the table."""
    class_balance: Literal["balanced", "none"] = "balanced"
    """Whether all classes count equally, or each by its number of images."""
    folds: int = 5
    """Number of folds of the cross-validation, which keep the images of a patient together."""
    learning_curve: bool = True
    """Also train on halves, quarters, ... of the images, to tell how much more labels would help."""
    bundle: bool = True
    """Write the classifier bundle; without it, embeddings of any layer can be judged."""
    seed: int = 0
    """Seed of the folds and of the parts of the learning curve."""
    overwrite: bool = False
    """Replace a bundle that is at the output."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges."""
        _require_tables(self.dataset_uri)
        require(bool(self.dataset_uri), "dataset_uri", self.dataset_uri, "at least one table")
        require(self.folds >= 2, "folds", self.folds, ">= 2")
        require(self.seed >= 0, "seed", self.seed, ">= 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class SelectConfig:
    """Choose the images whose labels would teach a probe most, and write them as a CSV file for the radiologist."""

    embeddings_uri: str
    """Output folder of embed_archive.py, or a Parquet file of it."""
    output_uri: str
    """CSV file, whose empty column label is to be filled in."""
    count: int = 100
    """Number of images to choose."""
    probe_uri: str | None = None
    """Classifier bundle of train_probe.py on these embeddings; without one, images are chosen by their diversity alone."""
    dataset_uri: tuple[str, ...] = ()
    """Tables of labels, as for train_probe.py, whose labelled images are not chosen again."""
    column: str | None = None
    """Column of the embeddings; needed if several encoders made the table."""
    max_candidates: int = 50_000
    """Number of images among which the choice is made: the most uncertain ones, or without a probe a random sample."""
    show_predictions: bool = False
    """Also write the predicted class; by default it is left out, because whoever sees it tends to confirm it."""
    seed: int = 0
    """Seed of the choice."""
    debug: bool = False
    """Show the traceback of an error, not only its one-line message."""

    def __post_init__(self) -> None:
        """Check ranges, and that no option is set that would change nothing."""
        _require_tables(self.dataset_uri)
        require(self.output_uri.endswith(".csv"), "output_uri", self.output_uri, "the name of a file that ends in .csv")
        require(self.count >= 1, "count", self.count, ">= 1")
        require(
            self.max_candidates >= self.count, "max_candidates", self.max_candidates, f"at least count, {self.count}"
        )
        fits = bool(self.probe_uri) or not self.show_predictions
        require(fits, "show_predictions", self.show_predictions, "left out without probe_uri, which predicts")
        require(self.seed >= 0, "seed", self.seed, ">= 0")


def _require_tables(dataset_uri: tuple[str, ...]) -> None:
    is_tuple = not isinstance(dataset_uri, str)  # each letter of a string would be taken for a table
    require(is_tuple, "dataset_uri", dataset_uri, 'a tuple of tables such as ("dataset.parquet",)')
