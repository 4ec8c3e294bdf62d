"""The panel of a prediction: its label, how sure it is, and a bar for each class."""

from typing import TYPE_CHECKING, Any

from cxr_ray.evaluation.figures import DARK
from cxr_ray.evaluation.fitted_text import fitted, fitting_size
from cxr_ray.models.classifier import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_BARS = 6
"""Classes that have a bar; of more, the most probable ones."""
LARGEST, SMALLEST, NAME_SIZE = 22.0, 13.0, 9.5  # points: of the label above the bars, and of each bar's name
FIGURE_WIDTH = 0.6
"""Inches that a bar's name leaves to its probability."""
BAR = "#3d6f9c"
TRACK = "#262e37"


def shown_probabilities(prediction: Prediction) -> dict[str, float]:
    """Probabilities in the order of the bundle; of more than `MOST_BARS` classes the most probable, in falling order."""
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    return dict(ranked[:MOST_BARS]) if len(ranked) > MOST_BARS else dict(prediction.probabilities)


def draw_probabilities(figure: "Figure", prediction: Prediction, place: tuple[float, float, float, float]) -> None:
    """Draw the panel in `place`: left, bottom, width and height as parts of the figure."""
    axes = figure.add_axes(place)
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    width = place[2] * figure.get_figwidth()
    label = _readable(prediction.label)
    size = fitting_size(label, width, largest=LARGEST, smallest=SMALLEST, weight="bold")
    label = fitted(label, width, size=size, weight="bold")
    axes.text(0, 0.93, label, fontsize=size, weight="bold", color=DARK.ink, parse_math=False)
    axes.text(0, 0.81, f"confidence {prediction.confidence:.1%}", fontsize=11, color=DARK.ink)
    shown = shown_probabilities(prediction)
    pitch = 0.7 / max(4, len(shown))
    for number, (name, probability) in enumerate(shown.items()):
        _draw_bar(axes, width, 0.68 - pitch * number, (name, probability), is_predicted=name == prediction.label)
    if hidden := len(prediction.probabilities) - len(shown):
        text = f"and {hidden} less probable {'class' if hidden == 1 else 'classes'}"
        axes.text(0, 0.68 - pitch * len(shown), text, fontsize=8, color=DARK.ink, va="top")


def _draw_bar(axes: "Axes", width: float, top: float, outcome: tuple[str, float], *, is_predicted: bool) -> None:
    """One class: its name and probability in a line, the bar below; the panel is `width` inches wide."""
    name, probability = outcome
    weight = "bold" if is_predicted else "normal"
    name = fitted(_readable(name), width - FIGURE_WIDTH, size=NAME_SIZE, weight=weight)
    style: dict[str, Any] = {
        "fontsize": NAME_SIZE,
        "color": DARK.ink,
        "va": "center",
        "weight": weight,
        "parse_math": False,
    }
    axes.text(0, top, name, **style)
    axes.text(1, top, f"{probability:.1%}", ha="right", **style)
    axes.barh(top - 0.05, 1, height=0.026, color=TRACK)
    axes.barh(top - 0.05, probability, height=0.026, color=DARK.strong if is_predicted else BAR)


def _readable(label: str) -> str:
    return label.replace("_", " ")
