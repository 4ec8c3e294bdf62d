"""An aligned table of predictions for a terminal."""

from collections.abc import Sequence

from cxr_ray.errors import ImageError
from cxr_ray.models.classifier import Prediction
from cxr_ray.models.lung_segmentation import LungSegmentation

LONGEST_NAME = 48
MIN_COLUMN_WIDTH = 6
"""Minimum width, in characters, of a column of numbers such as `0.1234`."""


class PredictionLines:
    """Formats a heading and one line for each image; all column widths are known before the first image is read.

    Args:
        images: paths or URIs of all images, as the user typed them.
        labels: labels of the classifier, in the order of its outputs.
        lungs: whether the table has columns for the lung area and its uncertainty.
    """

    def __init__(self, images: Sequence[str], labels: Sequence[str], *, lungs: bool) -> None:
        self._labels = tuple(labels)
        self._lungs = ("lungs", "uncertainty") if lungs else ()
        self._name_width = max(len(shortened(name)) for name in ("image", *images))
        outcomes = labels if len(labels) > 1 else (f"not_{labels[0]}", *labels)
        self._label_width = max(len(name) for name in ("label", *outcomes))

    def heading(self) -> str:
        """Format the heading: the names of the columns."""
        return self._line("image", "label", [*self._labels, *self._lungs])

    def line(self, image: str, prediction: Prediction, segmentation: LungSegmentation | None = None) -> str:
        """Format the line of one image: its label, the probability of each label and, with lungs, their area and uncertainty."""
        figures = [f"{prediction.probabilities[label]:.4f}" for label in self._labels]
        if segmentation is not None:
            figures += [f"{segmentation.area_fraction:.1%}", f"{segmentation.uncertainty:.2f}"]
        return self._line(shortened(image), prediction.label, figures)

    def failure(self, image: str, error: ImageError) -> str:
        """Format the line of an image that could not be scored: the kind of the error and its reason."""
        return f"{shortened(image):<{self._name_width}}  error: {error.kind}: {error.reason}"

    def _line(self, name: str, label: str, figures: Sequence[str]) -> str:
        widths = [max(MIN_COLUMN_WIDTH, len(column)) for column in (*self._labels, *self._lungs)]
        cells = [f"{figure:>{width}}" for figure, width in zip(figures, widths, strict=True)]
        return "  ".join([f"{name:<{self._name_width}}", f"{label:<{self._label_width}}", *cells])


def shortened(name: str) -> str:
    """Shorten a name to its last `LONGEST_NAME` characters, and replace each unprintable character by `?`."""
    name = "".join(character if character.isprintable() else "?" for character in name)
    return name if len(name) <= LONGEST_NAME else "…" + name[1 - LONGEST_NAME :]
