"""Figures as PNG, each in the colours of a light or a dark page."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DOTS_PER_INCH = 192  # two per CSS pixel
GRID_COLUMNS = 4
MOST_ANNOTATED_CLASSES = 16  # beyond, cells are too small for figures and colour alone speaks


@dataclass(frozen=True, kw_only=True, slots=True)
class Palette:
    """Colours of a figure; one hue from faint to strong reads the same to colour-blind eyes."""

    surface: str
    """Background, that of the report's cards."""
    ink: str
    faint: str
    """Of a cell with share 0."""
    strong: str
    """Of a cell with share 1."""
    ink_on_strong: str


LIGHT = Palette(surface="#ffffff", ink="#1c2128", faint="#f1f5f9", strong="#0b4f8a", ink_on_strong="#ffffff")
DARK = Palette(surface="#191e24", ink="#dfe4ea", faint="#222931", strong="#8ccbff", ink_on_strong="#0c1117")
THEMES = {"light": LIGHT, "dark": DARK}


def confusion_matrix_png(confusion: NDArray[np.int64], labels: Sequence[str], palette: Palette = LIGHT) -> bytes:
    """Confusion matrix with counts; the colour is the share of the true class (of the row).

    Args:
        confusion: int [K, K], rows truth, columns predicted.
        labels: K names.
        palette: colours of the page on which the figure stands.
    """
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure

    classes = len(labels)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = 1.2 + min(0.75 * classes, 12.0)
    figure = Figure(figsize=(side, side), layout="constrained", facecolor=palette.surface)
    axes = figure.add_subplot()
    colours = LinearSegmentedColormap.from_list("share", [palette.faint, palette.strong])
    axes.imshow(share, cmap=colours, vmin=0, vmax=1)
    _name_axes(axes, labels, palette)
    if classes <= MOST_ANNOTATED_CLASSES:
        _write_cells(axes, confusion, share, palette)
    return _png(figure)


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


def _write_cells(axes: "Axes", confusion: NDArray[np.int64], share: NDArray[np.float64], palette: Palette) -> None:
    for (row, column), count in np.ndenumerate(confusion):
        part = share[row, column]
        ink = palette.ink_on_strong if part > 0.5 else palette.ink
        axes.text(column, row + 0.02, f"{count:,}", ha="center", va="bottom", color=ink, fontsize=12)
        axes.text(column, row + 0.12, f"{part:.0%}", ha="center", va="top", color=ink, fontsize=9)


def risk_coverage_png(uncertainty: Mapping[str, Any], palette: Palette = LIGHT) -> bytes:
    """Mean error of the images that are left when the most uncertain go, beside that of a random and an ideal ranking.

    Args:
        uncertainty: of `uncertainty_metrics`.
        palette: colours of the page on which the figure stands.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), layout="constrained", facecolor=palette.surface)
    axes = figure.add_subplot(facecolor=palette.surface)
    coverage, risk = zip(*uncertainty["risk_at_coverage"], strict=True)
    axes.plot(coverage, risk, color=palette.strong, marker="o", markersize=3, label="surest first")
    axes.axhline(uncertainty["aurc_random"], color=palette.ink, linestyle=":", linewidth=1, label="any order")
    axes.set_xlabel("share of the images kept", color=palette.ink)
    axes.set_ylabel("mean 1 - DSC", color=palette.ink)
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.tick_params(colors=palette.ink)
    for spine in axes.spines.values():
        spine.set_color(palette.ink)
    axes.legend(frameon=False, labelcolor=palette.ink)
    return _png(figure)


def mistakes_png(images: Sequence[NDArray[np.uint8]], captions: Sequence[str], palette: Palette = LIGHT) -> bytes:
    """Radiographs in a grid of four columns, a caption below each.

    Args:
        images: uint8 [S, S] each.
        captions: as many.
        palette: colours of the page on which the figure stands.
    """
    from matplotlib.figure import Figure

    rows = -(-len(images) // GRID_COLUMNS)
    figure = Figure(figsize=(2 * GRID_COLUMNS, 2.5 * rows), facecolor=palette.surface)
    for position, (image, caption) in enumerate(zip(images, captions, strict=True)):
        row, column = divmod(position, GRID_COLUMNS)
        bottom = (
            1 - (row + 0.8) / rows
        )  # a fifth of each row is the caption's; to lay it out would take most of the time
        axes = figure.add_axes((column / GRID_COLUMNS, bottom, 0.96 / GRID_COLUMNS, 0.78 / rows))
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.set_axis_off()
        axes.text(0.5, -0.03, caption, color=palette.ink, fontsize=8, ha="center", va="top", transform=axes.transAxes)
    return _png(figure)


def _png(figure: "Figure") -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH, bbox_inches="tight")
    return buffer.getvalue()
