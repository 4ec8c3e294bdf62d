"""Figures as PNG: confusion matrix, risk-coverage curve and mistakes, in the colours of a light or a dark page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 192  # two dots for each CSS pixel
GRID_COLUMNS = 4
MAX_ANNOTATED_CLASSES = 16  # the cells of more classes are too small for numbers and show only colour


@dataclass(frozen=True, kw_only=True, slots=True)
class Palette:
    """Colours of a figure; values differ in lightness of one hue, so that colour-blind readers can tell them apart."""

    surface: str
    """Colour of the background, the same as that of the report's cards."""
    ink: str
    """Colour of text and lines."""
    faint: str
    """Colour of a cell whose fraction is 0."""
    strong: str
    """Colour of a cell whose fraction is 1."""
    ink_on_strong: str
    """Colour of text on a cell whose fraction exceeds 0.5."""


LIGHT = Palette(surface="#ffffff", ink="#1c2128", faint="#f1f5f9", strong="#0b4f8a", ink_on_strong="#ffffff")
DARK = Palette(surface="#191e24", ink="#dfe4ea", faint="#222931", strong="#8ccbff", ink_on_strong="#0c1117")
THEMES = {"light": LIGHT, "dark": DARK}


def confusion_matrix_png(confusion: NDArray[np.int64], labels: Sequence[str], palette: Palette = LIGHT) -> bytes:
    """Draw a confusion matrix with counts as PNG; the colour of a cell shows its fraction of the true class (the row).

    Args:
        confusion: int64 [K, K], counts of images, rows true classes, columns predicted classes.
        labels: names of the K classes.
        palette: colours of the page that shows the figure.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    classes = len(labels)
    fraction = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = 1.2 + min(0.75 * classes, 12.0)
    figure = Figure(figsize=(side, side), layout="constrained", facecolor=palette.surface)
    axes = figure.add_subplot()
    colours = LinearSegmentedColormap.from_list("fraction", [palette.faint, palette.strong])
    axes.imshow(fraction, cmap=colours, vmin=0, vmax=1)
    _name_axes(axes, labels, palette)
    if classes <= MAX_ANNOTATED_CLASSES:
        _write_cells(axes, confusion, fraction, palette)
    return png_of(figure)


def _name_axes(axes: "Axes", labels: Sequence[str], palette: Palette) -> None:
    spaced = [label.replace("_", " ") for label in labels]
    longest = max(map(len, labels))
    axes.set_xticks(range(len(labels)), spaced, rotation=35 if longest > 6 else 0, rotation_mode="anchor")
    axes.set_yticks(range(len(labels)), spaced)
    for label in axes.get_xticklabels():
        label.set_horizontalalignment("right" if longest > 6 else "center")
    axes.set_xlabel("Predicted", color=palette.ink, labelpad=8)
    axes.set_ylabel("Truth", color=palette.ink, labelpad=8)
    axes.tick_params(length=0, colors=palette.ink, labelsize=10)
    axes.spines[:].set_visible(False)
    edges = np.arange(len(labels) + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color=palette.surface, linewidth=2)
    axes.tick_params(which="minor", length=0)


def _write_cells(axes: "Axes", confusion: NDArray[np.int64], fraction: NDArray[np.float64], palette: Palette) -> None:
    for (row, column), count in np.ndenumerate(confusion):
        part = fraction[row, column]
        ink = palette.ink_on_strong if part > 0.5 else palette.ink
        axes.text(column, row + 0.02, f"{count:,}", ha="center", va="bottom", color=ink, fontsize=12)
        axes.text(column, row + 0.12, f"{part:.0%}", ha="center", va="top", color=ink, fontsize=9)


def risk_coverage_png(uncertainty: Mapping[str, Any], palette: Palette = LIGHT) -> bytes:
    """Draw the risk-coverage curve as PNG: the mean error of the images that are kept, least uncertain first.

    Args:
        uncertainty: metrics that `uncertainty_metrics` returned.
        palette: colours of the page that shows the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), layout="constrained", facecolor=palette.surface)
    axes = risk_coverage_axes(figure, uncertainty, palette, "least uncertain first", "risk: mean of 1 - DSC")
    axes.legend(frameon=False, labelcolor=palette.ink)
    return png_of(figure)


def risk_coverage_axes(
    figure: "Figure", uncertainty: Mapping[str, Any], palette: Palette, order: str, risk_name: str
) -> "Axes":
    """Draw the risk-coverage curve and the risk of a random order, without a legend.

    Args:
        figure: an empty figure.
        uncertainty: metrics that `uncertainty_metrics` returned.
        palette: colours of the page that shows the figure.
        order: what comes first on the curve, for the legend.
        risk_name: label of the vertical axis.
    """
    axes = figure.add_subplot()
    style_axes(axes, palette)
    coverage, risk = zip(*uncertainty["risk_at_coverage"], strict=True)
    axes.plot(coverage, risk, color=palette.strong, marker="o", markersize=3, label=order)
    axes.axhline(uncertainty["aurc_random"], color=palette.ink, linestyle=":", linewidth=1, label="random order")
    axes.set_xlabel("coverage: fraction of images kept", color=palette.ink)
    axes.set_ylabel(risk_name, color=palette.ink)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    return axes


def style_axes(axes: "Axes", palette: Palette) -> None:
    """Give axes the colours of the page."""
    axes.set_facecolor(palette.surface)
    axes.tick_params(colors=palette.ink)
    for spine in axes.spines.values():
        spine.set_color(palette.ink)


def mistakes_png(images: Sequence[NDArray[np.uint8]], captions: Sequence[str], palette: Palette = LIGHT) -> bytes:
    """Draw radiographs in a grid of four columns, with a caption below each, as PNG.

    Args:
        images: radiographs, each uint8 [S, S], at least one.
        captions: one caption for each image.
        palette: colours of the page that shows the figure.
    """
    from matplotlib.figure import Figure

    rows = -(-len(images) // GRID_COLUMNS)
    figure = Figure(figsize=(2 * GRID_COLUMNS, 2.5 * rows), facecolor=palette.surface)
    for position, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(position, GRID_COLUMNS)
        # A fifth of each row is reserved for the caption; an automatic layout would take most of the time.
        bottom = 1 - (row + 0.8) / rows
        axes = figure.add_axes((column / GRID_COLUMNS, bottom, 0.96 / GRID_COLUMNS, 0.78 / rows))
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        axes.text(0.5, -0.03, caption, color=palette.ink, fontsize=8, ha="center", va="top", transform=axes.transAxes)
    return png_of(figure)


def png_of(figure: "Figure") -> bytes:
    """Encode a figure as PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
    return buffer.getvalue()
