"""Figures of an audit as PNG: accuracy by view, heat against area, curves of disturbances, and examples of the views."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from cxr_ray.auditing.audit_images import AuditImages
from cxr_ray.auditing.heat_check import Heat
from cxr_ray.auditing.region_check import views_of
from cxr_ray.auditing.robustness_check import Curve
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.evaluation.figures import LIGHT, Palette, mistakes_png, png_of, style_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def views_png(views: Mapping[str, Any], palette: Palette = LIGHT) -> bytes:
    """Draw the accuracy of each view with its interval, as it is and retrained, and that of the majority class.

    Args:
        views: `views` of audit.json.
        palette: colours of the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 0.9 + 0.62 * len(views)), layout="constrained", facecolor=palette.surface)
    axes = figure.add_subplot()
    style_axes(axes, palette)
    for offset, kind, told, colour in (
        (-0.14, "as_is", "classifier as it is", palette.strong),
        (0.14, "retrained", "probe retrained on the view", palette.ink),
    ):
        known = [(place + offset, view[kind]) for place, view in enumerate(views.values()) if view[kind]]
        _bars(axes, known, told, colour)
        majorities = [one["majority"] for _, one in known]
        axes.scatter(majorities, [place for place, _ in known], marker="|", s=90, color=colour, alpha=0.6)
    axes.set_yticks(range(len(views)), list(views))
    axes.set_ylim(len(views) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("accuracy with its 95 % interval by patient; upright: majority class", color=palette.ink)
    place: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1.0), "ncols": 2}
    axes.legend(frameon=False, labelcolor=palette.ink, **place)
    return png_of(figure)


def _bars(axes: "Axes", known: Sequence[tuple[float, Mapping[str, Any]]], told: str, colour: str) -> None:
    if not known:
        return
    values = np.array([one["accuracy"] for _, one in known])
    bounds = np.array([one["accuracy_interval"] for _, one in known]).T
    apart = np.abs(bounds - values)
    axes.errorbar(values, [place for place, _ in known], xerr=apart, fmt="o", color=colour, capsize=3, label=told)


def heat_png(heat: Heat, palette: Palette = LIGHT) -> bytes:
    """Draw for each image the fraction of its heat inside the lungs over the fraction of its area that the lungs cover."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.6, 4.4), layout="constrained", facecolor=palette.surface)
    axes = figure.add_subplot()
    style_axes(axes, palette)
    axes.scatter(heat.area, heat.inside, s=10, color=palette.strong, alpha=0.5, edgecolors="none")
    axes.plot([0, 1], [0, 1], color=palette.ink, linestyle=":", linewidth=1, label="what the area alone would get")
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("fraction of the area inside the lungs", color=palette.ink)
    axes.set_ylabel(f"fraction of the heat ({heat.method}) inside the lungs", color=palette.ink)
    axes.legend(frameon=False, labelcolor=palette.ink, loc="upper left")
    return png_of(figure)


def robustness_png(curves: Sequence[Curve], palette: Palette = LIGHT) -> bytes:
    """Draw the accuracy at each level of each disturbance, beside that of undisturbed images."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.4, 5.6), layout="constrained", facecolor=palette.surface)
    for axes, curve in zip(figure.subplots(2, -(-len(curves) // 2), sharey=True).ravel(), curves, strict=False):
        style_axes(axes, palette)
        points = sorted(curve.points(), key=lambda point: point["level"])
        levels = [point["level"] for point in points]
        values = np.array([point["accuracy"] for point in points])
        apart = np.abs(np.array([point["accuracy_interval"] for point in points]).T - values)
        axes.errorbar(levels, values, yerr=apart, fmt="o-", color=palette.strong, capsize=3, markersize=4)
        axes.axhline(float(curve.clean.mean()), color=palette.ink, linestyle=":", linewidth=1)
        axes.set_title(f"{curve.disturbance.name} ({curve.disturbance.unit})", color=palette.ink, fontsize=10)
        axes.set_ylim(0, 1.02)
    figure.supylabel("accuracy; dotted: undisturbed", color=palette.ink, fontsize=10)
    return png_of(figure)


def examples_png(images: AuditImages, config: AuditConfig) -> bytes:
    """Draw one image of each class in every view that was answered."""
    known = images.with_lungs() if images.has_lungs.any() else images
    firsts = [int(np.flatnonzero(known.truth == number)[0]) for number in np.unique(known.truth)]
    chosen = known.part(np.isin(np.arange(len(known)), firsts))
    shown = {name: show(chosen) for name, show in views_of(config).items()}
    pictures = [
        (view[row], name, row) for row in range(len(chosen)) for name, view in shown.items() if view is not None
    ]
    captions = [f"{chosen.labels[chosen.truth[row]].replace('_', ' ')}: {name}" for _, name, row in pictures]
    return mistakes_png([picture for picture, _, _ in pictures], captions)
