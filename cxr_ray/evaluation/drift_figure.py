"""Figure of the drift between two outputs as PNG: the mix of labels, and the effect of every column."""

from typing import TYPE_CHECKING, Any

from cxr_ray.evaluation.figures import LIGHT, Palette, png_of, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MAX_COLUMNS = 25
"""Columns that the figure shows, the largest effects; drift.json has all."""


def drift_png(result: dict[str, Any], palette: Palette = LIGHT) -> bytes:
    """Draw the fractions of the labels in both outputs, and the effect size of every column; outputs of findings have no label.

    Args:
        result: content of drift.json.
        palette: colours of the figure.
    """
    from matplotlib.figure import Figure

    columns = result["columns"][:MAX_COLUMNS]
    labels = next((row for row in result["columns"] if row["column"] == "label"), None)
    height = 1.4 + 0.32 * max(len(columns), 2 * len(labels["reference"]) if labels else 0)
    figure = Figure(figsize=(10.4, height), layout="constrained", facecolor=palette.surface)
    *left, right = figure.subplots(1, 2 if labels else 1, squeeze=False)[0]
    for axes in (*left, right):
        style_axes(axes, palette)
    if labels:
        _labels(left[0], labels, palette)
    _effects(right, columns, result["min_effect"], palette)
    return png_of(figure)


def _labels(axes: "Axes", row: dict[str, Any], palette: Palette) -> None:
    names = list(row["reference"])
    sides = (("reference", -0.2, palette.ink), ("current", 0.2, palette.strong))
    for side, offset, colour in sides:
        fractions = [row[side][name] for name in names]
        places = [place + offset for place in range(len(names))]
        axes.barh(places, fractions, height=0.36, color=colour, label=f"{side} ({row[f'n_{side}']:,} images)")
    axes.set_yticks(range(len(names)), [name.replace("_", " ") for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlabel("fraction of the images with this label", color=palette.ink)
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 2}
    axes.legend(frameon=False, labelcolor=palette.ink, **place)


def _effects(axes: "Axes", columns: list[dict[str, Any]], least: float, palette: Palette) -> None:
    places = range(len(columns))
    for place, row in zip(places, columns, strict=True):
        effect = row["effect"] or 0.0
        axes.barh(
            place, effect, height=0.6, color=palette.strong if row["drifted"] else palette.faint, edgecolor=palette.ink
        )
        told = "too few values" if row["p_value_holm"] is None else f"p = {row['p_value_holm']:.3f}"
        told = "p < 0.001" if row["p_value_holm"] is not None and row["p_value_holm"] < 0.001 else told
        axes.annotate(
            told, (effect, place), (5, 0), textcoords="offset points", va="center", color=palette.ink, fontsize=8
        )
    axes.axvline(least, color=palette.ink, linestyle=":", linewidth=1)
    axes.set_yticks(places, [row["column"] for row in columns])
    axes.set_ylim(len(columns) - 0.5, -0.5)
    axes.set_xlim(0, max([least, *(row["effect"] or 0 for row in columns)]) * 1.3 + 0.02)
    axes.set_title("effect size and corrected p-value; filled: drift", color=palette.ink, fontsize=11)
    axes.set_xlabel("0: equal, 1: nothing in common; dotted: least that counts", color=palette.ink)
