"""The card of a classifier of findings, each of which an image may have or not, and the card of any classifier."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field, FiniteFloat

from cxr_ray.models.bundle import ModelCard, Spread, kind_of, read_card

KIND = "multilabel_classifier"

Threshold = Annotated[FiniteFloat, Field(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class MultilabelCard(ModelCard):
    """Content of `model.json` in the bundle of a classifier of findings; its kind keeps readers of classes from its outputs."""

    kind: str = KIND
    temperatures: tuple[Spread, ...]
    """Divisor of the logit of each label that calibrates its probability; they are fitted on the val split."""
    thresholds: tuple[Threshold, ...]
    """Least calibrated probability at which each label is called present; they are chosen on the val split."""

    def __post_init__(self) -> None:
        """Check that there is a temperature and a threshold of each label."""
        for name in ("temperatures", "thresholds"):
            if len(getattr(self, name)) != len(self.labels):
                raise ValueError(f"{name} has {len(getattr(self, name))} values for {len(self.labels)} labels")


def read_classifier_card(uri: str) -> ModelCard:
    """Read the card of the classifier at `uri`, of classes or of findings, without its weights.

    Raises:
        BundleError: if there is no bundle, its card is damaged, or it is no classifier.
    """
    return read_card(uri, MultilabelCard if kind_of(uri) == KIND else ModelCard)
