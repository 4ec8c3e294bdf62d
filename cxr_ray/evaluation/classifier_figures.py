"""Figures of the evaluation of a classifier as PNG: reliability, abstention and external validation."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cxr_ray.evaluation.figures import LIGHT, Palette, png_of, risk_coverage_axes, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STAGES = {"before_temperature": "before temperature", "scored": "as scored", "refitted": "fitted on val"}
"""Sections of the calibration in the order of the figure, and their titles."""
EXTERNAL_FIGURES = {"recall": "sensitivity", "specificity": "specificity", "auroc": "AUROC"}


def reliability_png(calibration: Mapping[str, Any], palette: Palette = LIGHT) -> bytes:
    """Draw the reliability diagram of each calibration as PNG: the accuracy over the confidence, and the images below.

    Args:
        calibration: what `thresholds.calibration` returned, with a section `scored`.
        palette: colours of the page that shows the figure.
    """
    from matplotlib.figure import Figure

    stages = {name: calibration[name] for name in STAGES if calibration[name]}
    figure = Figure(figsize=(3.1 * len(stages) + 0.5, 4.1), layout="constrained", facecolor=palette.surface)
    grid = figure.subplots(2, len(stages), squeeze=False, sharex=True, sharey="row", height_ratios=(4, 1))
    for column, (name, stage) in enumerate(stages.items()):
        _reliability(grid[0, column], stage["reliability"], palette)
        fitted = f" (T = {stage['temperature']:.2f})" if name == "refitted" else ""
        title = f"{STAGES[name]}{fitted}\nECE {stage['ece']:.3f}, Brier {stage['brier']:.3f}"
        grid[0, column].set_title(title, fontsize=10, color=palette.ink)
        _counts(grid[1, column], stage["reliability"], palette)
        grid[1, column].set_xlabel("confidence", color=palette.ink)
    grid[0, 0].set_ylabel("accuracy", color=palette.ink)
    grid[1, 0].set_ylabel("images", color=palette.ink)
    return png_of(figure)


def _reliability(axes: "Axes", bins: list[dict[str, Any]], palette: Palette) -> None:
    style_axes(axes, palette)
    axes.plot((0, 1), (0, 1), color=palette.ink, linestyle=":", linewidth=1)
    bounds = [[abs(one["interval"][end] - one["accuracy"]) for one in bins] for end in (0, 1)]
    line: dict[str, Any] = {"color": palette.strong, "marker": "o", "markersize": 4, "linewidth": 1.2}
    line |= {"elinewidth": 0.8, "capsize": 2}
    axes.errorbar([one["confidence"] for one in bins], [one["accuracy"] for one in bins], yerr=bounds, **line)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)


def _counts(axes: "Axes", bins: list[dict[str, Any]], palette: Palette) -> None:
    style_axes(axes, palette)
    widths = [0.9 * (one["high"] - one["low"]) for one in bins]
    centres = [(one["high"] + one["low"]) / 2 for one in bins]
    axes.bar(centres, [one["n"] for one in bins], width=widths, color=palette.strong)


def abstention_png(abstention: Mapping[str, Any], palette: Palette = LIGHT) -> bytes:
    """Draw the fraction of mistakes over the coverage as PNG, with the threshold of abstention if there is one.

    Args:
        abstention: what `thresholds.abstention` returned, with a curve.
        palette: colours of the page that shows the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), layout="constrained", facecolor=palette.surface)
    axes = risk_coverage_axes(
        figure, abstention["risk_coverage"], palette, "surest first", "risk: fraction of mistakes"
    )
    if abstention["threshold"] is not None and abstention["n_kept"]:
        label = f"confidence at least {abstention['threshold']:.2f}"
        place = abstention["coverage"], 1 - abstention["accuracy"]
        axes.plot(*place, "D", color=palette.ink, markersize=7, label=label, clip_on=False, zorder=3)
    axes.legend(frameon=False, labelcolor=palette.ink)
    return png_of(figure)


def classes_png(per_class: Mapping[str, Mapping[str, Any]], palette: Palette = LIGHT) -> bytes:
    """Draw sensitivity, specificity and AUROC of each class as PNG, with their intervals.

    Args:
        per_class: figures of each class, with `intervals`, as `classification_metrics` returns them.
        palette: colours of the page that shows the figure.
    """
    names = EXTERNAL_FIGURES
    known = {
        label: {name: {"here": row[name], "here_interval": row["intervals"][name]} for name in names}
        for label, row in per_class.items()
    }
    return _figures_of_classes(known, (("here", 0.0, "o", palette.strong),), palette)


def external_png(external: Mapping[str, Any], palette: Palette = LIGHT) -> bytes:
    """Draw the figures of each class on both datasets side by side as PNG, with their intervals.

    Args:
        external: what `side_by_side` returned.
        palette: colours of the page that shows the figure.
    """
    kinds = (("internal", -0.14, "o", palette.ink), ("external", 0.14, "s", palette.strong))
    return _figures_of_classes(external["per_class"], kinds, palette)


def _figures_of_classes(
    per_class: Mapping[str, Mapping[str, Any]], kinds: Sequence[tuple[str, float, str, str]], palette: Palette
) -> bytes:
    """Draw a panel for each of `EXTERNAL_FIGURES` with a line for each class; a kind is a name, an offset, a marker and a colour."""
    from matplotlib.figure import Figure

    labels = list(per_class)
    size = (2.6 * len(EXTERNAL_FIGURES) + 1.4, 1.4 + 0.55 * len(labels))
    figure = Figure(figsize=size, layout="constrained", facecolor=palette.surface)
    grid = figure.subplots(1, len(EXTERNAL_FIGURES), squeeze=False, sharey=True)[0]
    for axes, (name, title) in zip(grid, EXTERNAL_FIGURES.items(), strict=True):
        style_axes(axes, palette)
        axes.set_title(title, fontsize=10, color=palette.ink)
        for kind, offset, marker, colour in kinds:
            known = {row: per_class[label][name] for row, label in enumerate(labels)}
            _intervals(axes, known, kind, offset, {"marker": marker, "color": colour})
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks((0, 0.5, 1), ("0", "0.5", "1"))
        axes.grid(axis="x", color=palette.faint)
        axes.set_axisbelow(True)
    grid[0].set_yticks(range(len(labels)), [label.replace("_", " ") for label in labels])
    grid[0].set_ylim(len(labels) - 0.5, -0.5)
    if len(kinds) > 1:
        handles, names = grid[0].get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=2, frameon=False, labelcolor=palette.ink)
    return png_of(figure)


def _intervals(
    axes: "Axes", pairs: Mapping[int, Mapping[str, Any]], kind: str, offset: float, look: Mapping[str, Any]
) -> None:
    known = {row: one for row, one in pairs.items() if one[kind] is not None and one[f"{kind}_interval"]}
    values = [one[kind] for one in known.values()]
    bounds = [[abs(one[f"{kind}_interval"][end] - one[kind]) for one in known.values()] for end in (0, 1)]
    rows = [row + offset for row in known]
    axes.errorbar(values, rows, xerr=bounds, linestyle="none", markersize=5, capsize=2.5, label=kind, **look)
