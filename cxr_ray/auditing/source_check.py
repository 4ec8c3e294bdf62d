"""Check c: can the source of an image be told from its features within a class, and does the source tell the class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from cxr_ray.archive.tables import read_schema
from cxr_ray.auditing.audit_images import AuditImages
from cxr_ray.auditing.finding import Finding, Question, finding_of_excess, gain_over, not_measured
from cxr_ray.auditing.grouped_probe import cross_validated, probeable
from cxr_ray.auditing.network import AuditedNetwork
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.predictions import read_columns
from cxr_ray.evaluation.subgroups import read_metadata, subgroup_values
from cxr_ray.metrics.classification import classification_metrics
from cxr_ray.metrics.intervals import Interval
from cxr_ray.probing.folds import grouped_folds

CHECK = "c"
WITHIN, OF_CLASS = "skill of telling sources apart", "accuracy above majority"
NO_COLUMN = "no source is named; add --source-column, and --metadata-uri if the dataset lacks the column"


def check_source(network: AuditedNetwork, images: AuditImages, config: AuditConfig) -> list[Finding]:
    """Judge by probes how well the sources of each class are told apart, and how well the source tells the class.

    Raises:
        DatasetError: if no table has the column of the source, or its table knows none of the images.
    """
    question = Question(check=CHECK, asked="source within a class", measure=WITHIN, limits=config.source_skill)
    if config.source_column is None:
        return [not_measured(question, NO_COLUMN)]
    sources = read_sources(images.image_ids, config)
    known = np.array([source is not None for source in sources])
    if not known.any():
        return [not_measured(question, f"no image has a value of {config.source_column}")]
    names, numbers = np.unique([source for source in sources if source is not None], return_inverse=True)
    seen = images.part(known)
    sourced = SourcedFeatures(
        features=network.features(seen.pixels), numbers=numbers, groups=seen.groups, names=names.tolist()
    )
    within = [
        _within(label, sourced.part(seen.truth == number), config)
        for number, label in enumerate(seen.labels)
        if (seen.truth == number).any()
    ]
    return [*within, _of_class(numbers, seen, config)]


def read_sources(image_ids: Sequence[str], config: AuditConfig) -> list[str | None]:
    """Read the source of each image, None where it has none.

    Raises:
        DatasetError: if the table lacks the column, or knows none of the images.
    """
    column, uri = str(config.source_column), config.metadata_uri or config.dataset_uri
    table = read_metadata(uri) if config.metadata_uri else read_columns(uri, [column])
    if column not in table.column_names:
        present = table.column_names if config.metadata_uri else read_schema(uri).names
        raise DatasetError(f"{uri} has no column {column!r} of source_column; it has {', '.join(present)}")
    values: list[Any] = subgroup_values(image_ids, [column], {uri: table})[column]
    return [None if value is None or str(value).strip() == "" else str(value) for value in values]


@dataclass(frozen=True, kw_only=True)
class SourcedFeatures:
    """Features of N images with their sources.

    Attributes:
        features: float32 [N, D].
        numbers: int64 [N], number of the source of each image.
        groups: int64 [N], number of the patient of each image.
        names: names of the sources.
    """

    features: np.ndarray
    numbers: np.ndarray
    groups: np.ndarray
    names: list[str]

    def part(self, chosen: np.ndarray) -> "SourcedFeatures":
        """Select the images where `chosen`, bool [N], is true."""
        return replace(self, features=self.features[chosen], numbers=self.numbers[chosen], groups=self.groups[chosen])


def _within(label: str, images: SourcedFeatures, config: AuditConfig) -> Finding:
    """Judge how well a probe tells the sources of the images of one class apart."""
    question = Question(check=CHECK, asked=f"source within {label}", measure=WITHIN, limits=config.source_skill)
    kinds = probeable(images.numbers, images.groups, config.folds)
    if len(kinds) < 2:
        count = len(np.unique(images.numbers))
        return not_measured(
            question, f"{count} sources, of which {len(kinds)} have images of {config.folds} patients; two are needed"
        )
    kept = images.part(np.isin(images.numbers, kinds))
    truth = np.searchsorted(kinds, kept.numbers)
    predicted = cross_validated(kept.features, truth, kept.groups, folds=config.folds, balanced=True, seed=config.seed)
    names = [images.names[kind] for kind in kinds]
    drawing = {"resamples": config.bootstrap_draws, "seed": config.seed}
    found = classification_metrics(truth, predicted, np.eye(len(kinds))[predicted], names, kept.groups, **drawing)
    chance, accuracy = 1 / len(kinds), found["balanced_accuracy"]
    low, high = found["intervals"]["balanced_accuracy"][:2]
    skill, bottom, top = ((value - chance) / (1 - chance) for value in (accuracy, low, high))
    detail = f"balanced accuracy {accuracy:.3f}, chance {chance:.3f}, {len(truth)} images of {len(kinds)} sources"
    return finding_of_excess(question, skill, Interval(bottom, top, "scaled"), detail)


def _of_class(numbers: np.ndarray, images: AuditImages, config: AuditConfig) -> Finding:
    """Judge how well the class is known from the source alone, by its most frequent class among other patients."""
    question = Question(check=CHECK, asked="class from the source alone", measure=OF_CLASS, limits=config.source_gain)
    fold = grouped_folds(images.truth, images.groups, folds=config.folds, seed=config.seed)
    predicted = np.zeros(len(numbers), np.int64)
    for number in range(config.folds):
        others, left_out = fold != number, fold == number
        table = np.zeros((int(numbers.max()) + 1, len(images.labels)), np.int64)
        np.add.at(table, (numbers[others], images.truth[others]), 1)
        usual = np.where(table.any(1), table.argmax(1), table.sum(0).argmax())
        predicted[left_out] = usual[numbers[left_out]]
    right, majority = predicted == images.truth, images.truth == np.bincount(images.truth).argmax()
    detail = f"accuracy {right.mean():.3f}, majority {majority.mean():.3f}, {int(numbers.max()) + 1} sources"
    value, interval = gain_over(float(majority.mean()), right, images.groups)
    return finding_of_excess(question, value, interval, detail)
