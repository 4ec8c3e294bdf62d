"""The figure of an evaluation of findings: the AUROC of each, with its interval."""

from collections.abc import Mapping
from typing import Any

from cxr_ray.evaluation.figures import LIGHT, Palette, png_of, style_axes


def finding_areas_png(per_class: Mapping[str, Mapping[str, Any]], palette: Palette = LIGHT) -> bytes:
    """Draw the AUROC of each finding with its 95 % interval as PNG; a finding without one has an empty line.

    Args:
        per_class: section `per_class` of `finding_metrics`.
        palette: colours of the page that shows the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 0.9 + 0.32 * len(per_class)), layout="constrained", facecolor=palette.surface)
    axes = figure.add_subplot()
    style_axes(axes, palette)
    for height, row in enumerate(per_class.values()):
        if row["auroc"] is not None:
            low, high = row["intervals"]["auroc"]
            axes.plot((low, high), (height, height), color=palette.strong, linewidth=1.4)
            axes.plot(row["auroc"], height, "o", color=palette.strong, markersize=5)
    axes.set_yticks(range(len(per_class)), [label.replace("_", " ") for label in per_class])
    axes.invert_yaxis()
    axes.axvline(0.5, color=palette.ink, linestyle=":", linewidth=1)
    axes.set_xlim(
        min(0.45, *(row["intervals"]["auroc"][0] for row in per_class.values() if row["auroc"] is not None), 1), 1.005
    )
    axes.set_xlabel("AUROC", color=palette.ink)
    return png_of(figure)
