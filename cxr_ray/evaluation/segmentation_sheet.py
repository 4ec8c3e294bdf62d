"""The best, median and worst segmentations as pictures: a figure sheet, and a page to read."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from cxr_ray.evaluation.figures import DOTS_PER_INCH, LIGHT, THEMES, Palette, risk_coverage_png
from cxr_ray.evaluation.report import render_page
from cxr_ray.evaluation.thumbnails import data_uri
from cxr_ray.evaluation.true_masks import load_pictures, masks_of
from cxr_ray.imaging.overlay import draw_contours
from cxr_ray.metrics.segmentation import METRICS, Mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 4  # of each kind on the figure sheet
PANEL_SIDE = 480  # pixels of the longer side
LONGEST_NAME = 40  # characters of an image's name below its panel
TRUE_COLOUR, PREDICTED_COLOUR = "#39b7ff", "#ffa600"  # blue and amber stay apart for colour-blind eyes


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One radiograph with both contours."""

    kind: str
    """`Best`, `Median` or `Worst`."""
    image_id: str
    dsc: float
    nsd: float
    pixels: NDArray[np.uint8]
    """uint8 [H, W, 3]; grey where the radiograph cannot be read."""
    error_kind: str | None
    """Why there is no radiograph behind the contours."""


def choose_panels(rows: pa.Table) -> dict[str, NDArray[np.int64]]:
    """Positions in the rows from `judge` by kind of panel, the best and the worst by DSC first, none of them twice.

    Images where both masks are empty are passed over: nothing could be drawn.
    """
    dsc, *areas = (rows[name].to_numpy() for name in ("dsc", "predicted_area_fraction", "true_area_fraction"))
    shown = np.flatnonzero(sum(areas) > 0)  # NaN, where nothing was compared, is not
    order = shown[np.argsort(-dsc[shown], kind="stable")]
    count = min(PANELS, max(1, len(order) // 3))
    best, rest = order[:count], order[count:]
    between = rest[: max(0, len(rest) - count)]
    start = max(0, (len(between) - count) // 2)
    chosen = {"Best": best, "Median": between[start : start + count], "Worst": rest[::-1][:count]}
    return {kind: positions for kind, positions in chosen.items() if len(positions)}


def draw_panels(joined: pa.Table, rows: pa.Table) -> list[Panel]:
    """Panels of the best, median and worst images; one whose true mask has meanwhile gone is left out."""
    panels = []
    for kind, positions in choose_panels(rows).items():
        chosen = joined.take(positions)
        radiographs = load_pictures(chosen["uri"].to_pylist(), PANEL_SIDE)
        truths = load_pictures(chosen["mask_uri"].to_pylist())
        figures = rows.take(positions).select(["image_id", "dsc", "nsd"]).to_pylist()
        for row, figure, radiograph, truth in zip(chosen.to_pylist(), figures, radiographs, truths, strict=True):
            if truth.pixels is None:
                continue
            pixels = overlay(radiograph.pixels, *masks_of(row, truth))
            panels.append(Panel(kind=kind, pixels=pixels, error_kind=radiograph.error_kind, **figure))
    return panels


def overlay(radiograph: NDArray[np.uint8] | None, predicted: Mask, truth: Mask) -> NDArray[np.uint8]:
    """A radiograph with the true contour and, thinner and above it, the predicted one: where they agree both show.

    Args:
        radiograph: uint8 of any height and width; None for plain grey.
        predicted: bool [H, W].
        truth: bool [H, W].

    Returns:
        uint8 [h, w, 3] in the proportions of the masks, the longer side `PANEL_SIDE`.
    """
    contours = [(truth, TRUE_COLOUR, 15), (predicted, PREDICTED_COLOUR, 7)]
    return draw_contours(radiograph, contours, longest_side=PANEL_SIDE)


def sheet_png(panels: list[Panel], palette: Palette = LIGHT) -> bytes:
    """The panels on one sheet, a row for each kind, between figures and name of the image; without any, the legend."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    rows: dict[str, list[Panel]] = {}
    for panel in panels:
        rows.setdefault(panel.kind, []).append(panel)
    columns = max(map(len, rows.values()), default=1)
    size = max(3.2, 2.5 * columns), 0.4 + 2.95 * max(1, len(rows))
    figure = Figure(figsize=size, layout="constrained", facecolor=palette.surface)
    grid = figure.subplots(max(1, len(rows)), columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, of_kind in enumerate(rows.values()):
        for axes, panel in zip(grid[row], of_kind, strict=False):
            _show_panel(axes, panel, palette)
    lines = [Line2D([], [], color=colour, linewidth=3) for colour in (TRUE_COLOUR, PREDICTED_COLOUR)]
    place = {"loc": "outside upper left", "ncols": 2, "frameon": False}
    figure.legend(lines, ["truth", "predicted"], labelcolor=palette.ink, **place)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=DOTS_PER_INCH)
    return buffer.getvalue()


def _show_panel(axes: "Axes", panel: Panel, palette: Palette) -> None:
    height, width, _ = panel.pixels.shape
    left, top = (PANEL_SIDE - width) / 2, (PANEL_SIDE - height) / 2
    axes.imshow(panel.pixels, extent=(left, left + width, top + height, top), interpolation="lanczos")
    axes.set(xlim=(0, PANEL_SIDE), ylim=(PANEL_SIDE, 0))  # every panel a square, so that captions stand in line
    axes.set_title(f"{panel.kind}: DSC {panel.dsc:.3f}, NSD {panel.nsd:.3f}", color=palette.ink, fontsize=9)
    name = panel.image_id if len(panel.image_id) <= LONGEST_NAME else "…" + panel.image_id[1 - LONGEST_NAME :]
    below = axes.text(PANEL_SIDE / 2, PANEL_SIDE + 8, name, ha="center", va="top", fontsize=7, color=palette.ink)
    below.set_parse_math(False)  # a name may hold $


def segmentation_report_html(metrics: dict[str, Any], panels: list[Panel]) -> str:
    """The report of one evaluation, from the content of metrics.json and the panels of the figure sheet."""
    shown: dict[str, list[dict[str, Any]]] = {}
    for panel in panels:
        buffer = io.BytesIO()
        # Whole chroma: thin coloured lines would fade in half of it.
        Image.fromarray(panel.pixels).save(buffer, format="JPEG", quality=85, subsampling=0)
        told = {name: getattr(panel, name) for name in ("image_id", "dsc", "nsd", "error_kind")}
        shown.setdefault(panel.kind, []).append(told | {"picture": data_uri(buffer.getvalue(), "image/jpeg")})
    return render_page(
        "segmentation_report.html.j2",
        metrics=metrics,
        provenance=metrics["provenance"],
        names=METRICS | {"nsd": f"NSD at {metrics['tolerance']:g} {metrics['tolerance_unit']}"},
        panels=shown,
        risk_coverage=_risk_coverage(metrics["uncertainty"]),
        colours={"truth": TRUE_COLOUR, "predicted": PREDICTED_COLOUR},
    )


def _risk_coverage(uncertainty: dict[str, Any] | None) -> dict[str, str]:
    """The figure for a light and a dark page; none where the segmenter does not say how sure it is."""
    if not uncertainty:
        return {}
    return {name: data_uri(risk_coverage_png(uncertainty, palette), "image/png") for name, palette in THEMES.items()}
