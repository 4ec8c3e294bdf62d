"""The panel of one prediction: its label, its confidence, and a bar for the probability of each class."""

from typing import TYPE_CHECKING, Any

from cxr_ray.evaluation.figures import DARK
from cxr_ray.evaluation.fitted_text import fitted, fitting_size
from cxr_ray.models.classifier import Prediction

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_BARS = 6
"""Maximum number of bars; a model with more classes shows the most probable ones."""
LARGEST, SMALLEST, NAME_SIZE = (
    22.0,
    13.0,
    9.5,
)  # font sizes in points: maximum and minimum of the label, and of the name of a bar
FIGURE_WIDTH = 0.6
"""Width in inches that is reserved for the probability beside the name of a bar."""
BAR = "#3d6f9c"
TRACK = "#262e37"


def shown_probabilities(prediction: Prediction) -> dict[str, float]:
    """Select the probabilities to show: all of them in the order of the bundle or, of more than `MAX_BARS`, the highest first."""
    ranked = sorted(prediction.probabilities.items(), key=lambda item: -item[1])
    return dict(ranked[:MAX_BARS]) if len(ranked) > MAX_BARS else dict(prediction.probabilities)


def draw_probabilities(figure: "Figure", prediction: Prediction, rectangle: tuple[float, float, float, float]) -> None:
    """Draw the panel into a rectangle: left, bottom, width and height as fractions of the size of the figure."""
    axes = figure.add_axes(rectangle)
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    width = rectangle[2] * figure.get_figwidth()
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
    """Draw the name and the probability of one class, and its bar below them, in a panel that is `width` inches wide."""
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
