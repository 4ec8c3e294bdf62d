"""Pictures of the best, median and worst segmentations, on one sheet and in the HTML report."""

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from cxr_ray.evaluation.figures import DOTS_PER_INCH, LIGHT, THEMES, Palette, risk_coverage_png
from cxr_ray.evaluation.flagged_images import excluded_line
from cxr_ray.evaluation.report import render_page
from cxr_ray.evaluation.segmentation_text import (
    class_rows,
    interval_line,
    lowest_line,
    lung_rows,
    metric_names,
    reader_rows,
    segmenter_rows,
    shown_metrics,
    spacing_line,
)
from cxr_ray.evaluation.thumbnails import data_uri
from cxr_ray.evaluation.true_masks import load_pictures, masks_of
from cxr_ray.imaging.mask_components import fill_holes
from cxr_ray.imaging.overlay import draw_contours
from cxr_ray.metrics.segmentation import Mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PANELS = 4  # maximum number of panels of each kind
PANEL_SIDE = 480  # longer side of a panel in pixels
LONGEST_NAME = 40  # maximum number of characters in the name below a panel
TRUE_COLOUR, PREDICTED_COLOUR = "#39b7ff", "#ffa600"  # colour-blind readers can tell blue from amber


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One radiograph with the contours of the true and the predicted mask."""

    kind: str
    """Group of the panel by DSC: `Best`, `Median` or `Worst`."""
    image_id: str
    dsc: float
    nsd: float
    pixels: NDArray[np.uint8]
    """Radiograph with contours, uint8 [H, W, 3]; the background is plain grey if the radiograph cannot be read."""
    error_kind: str | None
    """Kind of the error if the radiograph cannot be read, else None."""


def choose_panels(rows: pa.Table) -> dict[str, NDArray[np.int64]]:
    """Choose the images of the panels, each at most once.

    An image whose two masks are empty is not chosen, because it has no contour to draw.

    Args:
        rows: rows from `judge`.

    Returns:
        Positions in `rows`, int64, for each of `Best` (highest DSC first), `Median` and `Worst` (lowest DSC first) that
        has an image.
    """
    dsc, *areas = (rows[name].to_numpy() for name in ("dsc", "predicted_area_fraction", "true_area_fraction"))
    shown = np.flatnonzero(sum(areas) > 0)  # areas are NaN, and so not chosen, where no masks were compared
    order = shown[np.argsort(-dsc[shown], kind="stable")]
    count = min(PANELS, max(1, len(order) // 3))
    best, rest = order[:count], order[count:]
    between = rest[: max(0, len(rest) - count)]
    start = max(0, (len(between) - count) // 2)
    chosen = {"Best": best, "Median": between[start : start + count], "Worst": rest[::-1][:count]}
    return {kind: positions for kind, positions in chosen.items() if len(positions)}


def draw_panels(joined: pa.Table, rows: pa.Table, *, filled: bool = False) -> list[Panel]:
    """Draw the panels of the best, median and worst images, except those whose true mask can no longer be read.

    Args:
        joined: rows from `join_masks`.
        rows: rows from `judge` for `joined`, in the same order.
        filled: whether the holes of predicted masks are filled.

    Raises:
        StorageError: if a predicted mask cannot be decoded.
    """
    panels = []
    for kind, positions in choose_panels(rows).items():
        chosen = joined.take(positions)
        radiographs = load_pictures(chosen["uri"].to_pylist(), PANEL_SIDE)
        truths = load_pictures(chosen["mask_uri"].to_pylist())
        figures = rows.take(positions).select(["image_id", "dsc", "nsd"]).to_pylist()
        for row, figure, radiograph, truth in zip(chosen.to_pylist(), figures, radiographs, truths, strict=True):
            if truth.pixels is None:
                continue
            predicted, true = masks_of(row, truth)
            pixels = overlay(radiograph.pixels, fill_holes(predicted) if filled else predicted, true)
            panels.append(Panel(kind=kind, pixels=pixels, error_kind=radiograph.error_kind, **figure))
    return panels


def overlay(radiograph: NDArray[np.uint8] | None, predicted: Mask, truth: Mask) -> NDArray[np.uint8]:
    """Draw the true contour on a radiograph and, thinner and above it, the predicted contour, so that both stay visible.

    Args:
        radiograph: uint8 [height, width], in grey, of any size; None for a plain grey background.
        predicted: predicted mask, bool [H, W].
        truth: true mask, bool [H, W].

    Returns:
        uint8 [h, w, 3] in the proportions of the masks, the longer side `PANEL_SIDE`.
    """
    contours = [(truth, TRUE_COLOUR, 15), (predicted, PREDICTED_COLOUR, 7)]
    return draw_contours(radiograph, contours, longest_side=PANEL_SIDE)


def sheet_png(panels: list[Panel], palette: Palette = LIGHT) -> bytes:
    """Draw the panels on one sheet as PNG, one row for each kind; without panels, the sheet has only its legend."""
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
    axes.set(xlim=(0, PANEL_SIDE), ylim=(PANEL_SIDE, 0))  # every panel is a square, so that captions are aligned
    axes.set_title(f"{panel.kind}: DSC {panel.dsc:.3f}, NSD {panel.nsd:.3f}", color=palette.ink, fontsize=9)
    name = panel.image_id if len(panel.image_id) <= LONGEST_NAME else "…" + panel.image_id[1 - LONGEST_NAME :]
    below = axes.text(PANEL_SIDE / 2, PANEL_SIDE + 8, name, ha="center", va="top", fontsize=7, color=palette.ink)
    below.set_parse_math(False)  # a name may contain $


def segmentation_report_html(metrics: dict[str, Any], panels: list[Panel]) -> str:
    """Render the report of one evaluation of a segmenter from the content of metrics.json and the panels of the sheet."""
    shown_panels: dict[str, list[dict[str, Any]]] = {}
    for panel in panels:
        buffer = io.BytesIO()
        # Chroma subsampling is off because it would fade thin coloured lines.
        Image.fromarray(panel.pixels).save(buffer, format="JPEG", quality=85, subsampling=0)
        facts = {name: getattr(panel, name) for name in ("image_id", "dsc", "nsd", "error_kind")}
        shown_panels.setdefault(panel.kind, []).append(facts | {"picture": data_uri(buffer.getvalue(), "image/jpeg")})
    return render_page(
        "segmentation_report.html.j2",
        metrics=metrics,
        provenance=metrics["provenance"],
        names=metric_names(metrics),
        shown=shown_metrics(metrics),
        spacing=spacing_line(metrics),
        intervals=interval_line(metrics),
        excluded=excluded_line(metrics["excluded_by_flag"], metrics["n_excluded_by_flag"]),
        lungs=lung_rows(metrics),
        readers=reader_rows(metrics),
        lowest=lowest_line(metrics["readers"]) if metrics["readers"] else "",
        classes=class_rows(metrics),
        segmenters=segmenter_rows(metrics),
        panels=shown_panels,
        risk_coverage=_risk_coverage(metrics["uncertainty"]),
        colours={"truth": TRUE_COLOUR, "predicted": PREDICTED_COLOUR},
    )


def _risk_coverage(uncertainty: dict[str, Any] | None) -> dict[str, str]:
    """Draw the risk-coverage curve for each of `THEMES` as a data URI; {} if the segmenter gives no uncertainty."""
    if not uncertainty:
        return {}
    return {name: data_uri(risk_coverage_png(uncertainty, palette), "image/png") for name, palette in THEMES.items()}
