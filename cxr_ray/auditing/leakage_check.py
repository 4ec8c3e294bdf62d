"""Check e: images that have a copy, or another image of their patient, in another split than their own."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa

from cxr_ray.auditing.finding import Finding, Question, finding_of_excess, not_measured
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.errors import DatasetError
from cxr_ray.imaging.decode import DEFAULT_LIMITS
from cxr_ray.preparation.fingerprint_images import fingerprint_here
from cxr_ray.preparation.groups import equal_pairs, group_by_pairs
from cxr_ray.preparation.near_duplicates import near_duplicate_groups

CHECK, MEASURE = "e", "fraction of images"


@dataclass(frozen=True, kw_only=True)
class Judged:
    """Splits of the N images of a dataset, and those that are judged.

    Attributes:
        splits: names [N].
        chosen: bool [N].
    """

    splits: np.ndarray
    chosen: np.ndarray


def check_leakage(dataset: pa.Table, config: AuditConfig) -> list[Finding]:
    """Judge copies across splits and patients across splits, among all images of a dataset.

    Copies are images of equal content, of one duplicate group of the dataset, or of near perceptual hashes, which are computed
    anew unless the dataset has more than `max_hashed_images` images.

    Raises:
        DatasetError: if an image cannot be read.
    """
    splits = np.array(dataset["split"].to_pylist(), dtype=object).astype(str)
    chosen = np.full(len(splits), True) if config.split == "all" else splits == config.split
    judged = Judged(splits=splits, chosen=chosen)
    copies, detail = copy_groups(dataset, config)
    return [
        _judgement(_question("copies in another split", config), copies.tolist(), judged, detail),
        _patients(dataset["patient_id"].to_pylist(), judged, config),
    ]


def copy_groups(dataset: pa.Table, config: AuditConfig) -> tuple[np.ndarray, str]:
    """Number the group of copies of each image, int64 [N], and say how copies were found."""
    pairs = [equal_pairs(dataset[name].to_pylist()) for name in ("content_sha256", "duplicate_group")]
    if dataset.num_rows > config.max_hashed_images:
        return group_by_pairs(dataset.num_rows, *pairs), "copies by the columns of the dataset alone"
    prints = fingerprint_here(dataset["uri"].to_pylist(), DEFAULT_LIMITS)
    for position, error in sorted(prints.errors.items()):
        image_id = dataset["image_id"][position].as_py()
        raise DatasetError(f"{image_id} cannot be read: {error}; fix the file, or prepare the dataset again")
    alike = near_duplicate_groups(prints.hashes, config.near_duplicate_distance)
    pairs += [equal_pairs(prints.contents), equal_pairs(alike.tolist())]
    return group_by_pairs(dataset.num_rows, *pairs), f"{dataset.num_rows:,} images hashed"


def in_other_splits(groups: Sequence[Hashable | None], splits: np.ndarray) -> np.ndarray:
    """Find the images of whose group another split has one, too, bool [N]; None is no group."""
    places: dict[Hashable, set[str]] = {}
    for group, split in zip(groups, splits.tolist(), strict=True):
        if group is not None:
            places.setdefault(group, set()).add(split)
    return np.array([group is not None and len(places[group]) > 1 for group in groups])


def _patients(patients: list[str | None], judged: Judged, config: AuditConfig) -> Finding:
    known = np.array([patient is not None for patient in patients])
    of_known = replace(judged, chosen=judged.chosen & known)
    question = _question("patients in another split", config)
    if not of_known.chosen.any():
        return not_measured(question, "no image names a patient; add patient_id to metadata.csv")
    detail = f"{int((judged.chosen & ~known).sum())} of {int(judged.chosen.sum())} images name no patient"
    return _judgement(question, patients, of_known, detail)


def _question(asked: str, config: AuditConfig) -> Question:
    return Question(check=CHECK, asked=asked, measure=MEASURE, limits=config.leaked)


def _judgement(question: Question, groups: Sequence[Hashable | None], judged: Judged, detail: str) -> Finding:
    leaked = in_other_splits(groups, judged.splits)
    of_chosen = leaked[judged.chosen]
    told = f"{int(of_chosen.sum())} of {len(of_chosen)} images, {int(leaked.sum())} in all splits; {detail}"
    return finding_of_excess(question, float(of_chosen.mean()), None, told)
