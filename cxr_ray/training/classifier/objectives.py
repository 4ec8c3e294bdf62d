"""The objective of each task of a classifier."""

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training.classifier.findings import FindingsObjective
from cxr_ray.training.classifier.objective import Objective
from cxr_ray.training.classifier.one_class import OneClassObjective

OBJECTIVES: dict[str, type[Objective]] = {"multiclass": OneClassObjective, "multilabel": FindingsObjective}
"""Objectives by the name of the task."""


def objective_of(config: TrainClassifierConfig) -> type[Objective]:
    """Return the objective of the task of a config."""
    return OBJECTIVES[config.task]
