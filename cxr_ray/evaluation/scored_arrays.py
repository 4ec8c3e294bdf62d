"""The scored images of an evaluation as arrays, from which metrics are computed."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

PATIENT = "patient"
"""Column of the rows of an evaluation: the number of the image's patient within this evaluation."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scored:
    """N scored images with their true classes, and the probabilities of K classes."""

    labels: tuple[str, ...]
    """Names of the K classes."""
    truth: NDArray[np.int64]
    """Indices of the true classes, int64 [N]."""
    predicted: NDArray[np.int64]
    """Indices of the predicted classes, int64 [N]."""
    probabilities: NDArray[np.float64]
    """Float64 [N, K], NaN in the column of a class that the model does not know."""
    groups: NDArray[np.int64]
    """Number of the patient of each image, int64 [N]."""

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the most probable class, float64 [N]."""
        return np.asarray(np.nanmax(self.probabilities, axis=1))

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the predicted class is the true one, bool [N]."""
        return self.truth == self.predicted

    def only(self, chosen: NDArray[np.bool_]) -> "Scored":
        """Keep the images in bool [N]."""
        kept = {name: getattr(self, name)[chosen] for name in ("truth", "predicted", "probabilities", "groups")}
        return replace(self, **kept)

    def of_known_classes(self) -> "Scored":
        """Keep the classes that the model knows, and the images of these classes."""
        known = np.flatnonzero(~np.isnan(self.probabilities).any(axis=0))
        kept = self.only(np.isin(self.truth, known))
        place = {int(old): new for new, old in enumerate(known)}
        return replace(
            kept,
            labels=tuple(self.labels[k] for k in known),
            truth=np.array([place[int(k)] for k in kept.truth], dtype=np.int64),
            predicted=np.array([place[int(k)] for k in kept.predicted], dtype=np.int64),
            probabilities=kept.probabilities[:, known],
        )


def scored_arrays(rows: pa.Table, names: Mapping[str, str]) -> Scored:
    """Collect the arrays of the rows with status `ok`.

    Args:
        rows: rows from `join_truth` with the column `PATIENT`.
        names: label of each probability column, from `class_names`.
    """
    scored = rows.filter(pc.equal(rows["status"], "ok"))
    labels = list(names.values())
    truth, predicted = (
        pc.index_in(scored[column], value_set=pa.array(labels)).to_numpy().astype(np.int64)
        for column in ("label", "predicted")
    )
    probabilities = np.full((scored.num_rows, len(names)), np.nan)
    for k, column in enumerate(names):
        if column in scored.column_names:
            probabilities[:, k] = scored[column].to_numpy()
    return Scored(
        labels=tuple(labels),
        truth=truth,
        predicted=predicted,
        probabilities=probabilities,
        groups=scored[PATIENT].to_numpy().astype(np.int64),
    )


def with_patients(rows: pa.Table, images: pa.Table, predictions: pa.Table) -> tuple[pa.Table, int]:
    """Add the column `PATIENT` to rows, and count the images whose patient is not known.

    The patient is that of the dataset, or else of the DICOM header (`patient_key`), or else all copies of an image count as of
    one patient (`duplicate_group`). Any other image is taken to be of a patient of its own.

    Args:
        rows: rows from `join_truth`.
        images: rows of `schema.DATASET`, from which `rows` were made.
        predictions: rows with `image_id` and, if known, `patient_key`.
    """
    keys = {}
    if "patient_key" in predictions.column_names:
        ids, found = (predictions[name].to_pylist() for name in ("image_id", "patient_key"))
        keys = dict(zip(ids, found, strict=True))
    facts = {row["image_id"]: row for row in images.select(["image_id", "patient_id", "duplicate_group"]).to_pylist()}
    patients: list[tuple[str, str]] = []
    unknown = 0
    for image_id in rows["image_id"].to_pylist():
        row = facts[image_id]
        if row["patient_id"]:
            patients.append(("patient", row["patient_id"]))
        elif keys.get(image_id):
            patients.append(("key", keys[image_id]))
        else:
            unknown += 1
            copies = row["duplicate_group"]
            patients.append(("copies", copies) if copies else ("image", image_id))
    numbers = {patient: number for number, patient in enumerate(sorted(set(patients)))}
    column = pa.array([numbers[patient] for patient in patients], pa.int64())
    return rows.append_column(PATIENT, column), unknown
