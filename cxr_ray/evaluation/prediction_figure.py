"""The picture of one prediction: the radiograph with the outlines of the lungs, a heat map, and the probabilities."""

import io
import warnings
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_ray.archive.recognise import PICTURE_MARK
from cxr_ray.evaluation.figures import DARK
from cxr_ray.evaluation.fitted_text import fitted
from cxr_ray.evaluation.picture_names import last_part
from cxr_ray.evaluation.prediction_lines import shortened
from cxr_ray.evaluation.probability_bars import draw_probabilities
from cxr_ray.imaging.overlay import OUTLINE_COLOUR, draw_contours
from cxr_ray.imaging.radiograph import Radiograph
from cxr_ray.models.classifier import Prediction
from cxr_ray.models.lung_segmentation import Lung, LungSegmentation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 150
WIDTH, HEIGHT = 14.2, 6.0  # inches
PANEL = 5.0  # side in inches of the square that contains a radiograph
PANEL_PIXELS = round(PANEL * DOTS_PER_INCH)
MARGIN, TOP = 0.3, 5.4  # inches: left margin of the first panel, and upper edge of both panels above the bottom
FIGURES_LEFT = 2 * PANEL + 3 * MARGIN + 0.15
BEHIND = "#0b0e12"  # darker than the page, so that the frame of a narrow radiograph shows
FAINT_INK = "#8b97a5"
STRONGEST_HEAT = 0.62
"""Opacity where the heat is 1, below 1 so that the anatomy stays visible."""
TITLE_SIZE = 12  # points
SCALE = 1.0  # width in inches of the colour scale of the heat map
COMPRESSION = 3  # PNG level, 0 to 9; it takes a third of the time of the default 6, and files are a tenth larger


def prediction_png(
    image: Radiograph,
    prediction: Prediction,
    segmentation: LungSegmentation | None,
    heat: NDArray[np.float32],
    *,
    heat_title: str,
    model_id: str,
) -> bytes:
    """Draw the picture of one prediction as a PNG of 2130 x 900 pixels; see `prediction_figure` for the arguments."""
    figure = prediction_figure(image, prediction, segmentation, heat, heat_title=heat_title, model_id=model_id)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a file name may have characters that the font lacks
        figure.savefig(
            buffer,
            format="png",
            dpi=DOTS_PER_INCH,
            metadata={"Software": PICTURE_MARK},  # so that no listing takes the picture for a radiograph
            pil_kwargs={"compress_level": COMPRESSION},
        )
    return buffer.getvalue()


def prediction_figure(
    image: Radiograph,
    prediction: Prediction,
    segmentation: LungSegmentation | None,
    heat: NDArray[np.float32],
    *,
    heat_title: str,
    model_id: str,
) -> "Figure":
    """Draw the figure of one prediction.

    Args:
        image: the radiograph.
        prediction: the output of the classifier for the radiograph.
        segmentation: the lungs, which are outlined in both panels; None without a segmenter.
        heat: float32 [H, W] in [0, 1], of the size of the radiograph.
        heat_title: title of the heat map: the method and the explained class.
        model_id: id of the classifier.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), facecolor=DARK.surface)
    mask = None if segmentation is None else segmentation.mask
    _show_panel(figure, MARGIN, with_outline(image.pixels, mask, thickness=7), _title(segmentation))
    heated = with_heat(with_outline(image.pixels, None, thickness=1), heat)
    title = fitted(heat_title, PANEL - SCALE - 1.0, size=TITLE_SIZE)
    _show_panel(figure, PANEL + 2 * MARGIN, with_outline(heated, mask, thickness=3), title)
    _draw_heat_scale(figure)
    draw_probabilities(figure, prediction, _rectangle(FIGURES_LEFT, 2.55, WIDTH - FIGURES_LEFT - MARGIN, TOP - 2.55))
    if segmentation is not None:
        _write_lungs(figure, segmentation)
    _write_provenance(figure, image, model_id)
    return figure


def with_outline(pixels: NDArray[np.uint8], mask: NDArray[np.bool_] | None, *, thickness: int) -> NDArray[np.uint8]:
    """Resize a picture to the size of a panel and draw the outline of a mask on it.

    Args:
        pixels: uint8 [H, W] in grey, or uint8 [H, W, 3] in colour.
        mask: bool, of the same proportions as `pixels` but of any size; None for no outline.
        thickness: thickness of the outline in thirds of a pixel, an odd number.

    Returns:
        uint8 [h, w, 3], the longer side `PANEL_PIXELS`.
    """
    shown = np.zeros(pixels.shape[:2], bool) if mask is None else mask
    return draw_contours(pixels, [(shown, OUTLINE_COLOUR, thickness)], longest_side=PANEL_PIXELS)


def with_heat(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Blend a heat map over a picture; the picture is unchanged where the heat is 0.

    Args:
        picture: uint8 [h, w, 3].
        heat: float32 [H, W] of any size, in [0, 1].

    Returns:
        uint8 [h, w, 3].
    """
    from matplotlib import colormaps

    height, width, _ = picture.shape
    fine = np.asarray(Image.fromarray(heat).resize((width, height), Image.Resampling.BILINEAR)).clip(0, 1)
    opacity = STRONGEST_HEAT * fine[..., None] ** 1.5  # the power keeps weak heat almost transparent
    glow = 255 * colormaps["inferno"](0.25 + 0.65 * fine)[..., :3]
    return np.rint((1 - opacity) * picture + opacity * glow).astype(np.uint8)


def _show_panel(figure: "Figure", left: float, picture: NDArray[np.uint8], title: str) -> None:
    axes = figure.add_axes(_rectangle(left, TOP - PANEL, PANEL, PANEL), facecolor=BEHIND)
    height, width, _ = picture.shape
    x, y = (PANEL_PIXELS - width) / 2, (PANEL_PIXELS - height) / 2
    axes.imshow(picture, extent=(x, x + width, y + height, y), interpolation="nearest")
    axes.set(xlim=(0, PANEL_PIXELS), ylim=(PANEL_PIXELS, 0), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    _write(figure, left, TOP + 0.12, title, size=TITLE_SIZE)


def _title(segmentation: LungSegmentation | None) -> str:
    if segmentation is None:
        return "Radiograph"
    return "Radiograph, lungs outlined" if segmentation.area_fraction > 0 else "Radiograph, no lungs found"


def _draw_heat_scale(figure: "Figure") -> None:
    right = 2 * PANEL + 2 * MARGIN
    left = right - SCALE - 0.4
    axes = figure.add_axes(_rectangle(left, TOP + 0.15, SCALE, 0.1))
    ramp = np.linspace(0, 1, 256, dtype=np.float32)[None]
    axes.imshow(with_heat(np.full((1, 256, 3), 90, np.uint8), ramp), aspect="auto")
    axes.set_axis_off()
    _write(figure, left - 0.06, TOP + 0.12, "low", size=9, colour=FAINT_INK, side="right")
    _write(figure, right, TOP + 0.12, "high", size=9, colour=FAINT_INK, side="right")


def _write_lungs(figure: "Figure", segmentation: LungSegmentation) -> None:
    """Write a table of both lungs; the patient's right lung comes first because it is on the left of the picture."""
    columns = [FIGURES_LEFT, FIGURES_LEFT + 1.95, WIDTH - MARGIN]
    rows = [("Lungs", "area fraction", "uncertainty")]
    rows += [("right", *_lung_cells(segmentation.right)), ("left", *_lung_cells(segmentation.left))]
    rows.append(("both", f"{segmentation.area_fraction:.1%}", f"{segmentation.uncertainty:.2f}"))
    for number, row in enumerate(rows):
        colour = FAINT_INK if number == 0 else DARK.ink
        for left, cell, side in zip(columns, row, ("left", "right", "right"), strict=True):
            _write(figure, left, 2.05 - 0.27 * number, cell, size=10 if number else 9, colour=colour, side=side)


def _lung_cells(lung: Lung | None) -> tuple[str, str]:
    return ("not found", "") if lung is None else (f"{lung.area_fraction:.1%}", f"{lung.uncertainty:.2f}")


def _write_provenance(figure: "Figure", image: Radiograph, model_id: str) -> None:
    size = f"{image.format.upper()}, {image.width} x {image.height} pixels"
    name = fitted(shortened(last_part(image.name)), PANEL - 0.2, size=9)
    _write(figure, MARGIN, 0.14, name, size=9, colour=FAINT_INK)
    _write(figure, PANEL + 2 * MARGIN, 0.14, size, size=9, colour=FAINT_INK)
    model = fitted(model_id, WIDTH - MARGIN - FIGURES_LEFT, size=8)
    _write(figure, FIGURES_LEFT, 0.42, model, size=8, colour=FAINT_INK)
    _write(figure, FIGURES_LEFT, 0.14, "For research use only; not a medical device.", size=8, colour=FAINT_INK)


def _write(
    figure: "Figure", x: float, y: float, text: str, *, size: float, colour: str = DARK.ink, side: str = "left"
) -> None:
    """Write a text whose baseline starts, or ends for side `right`, at (x, y) inches from the lower left corner.

    The text is written as it is; `$` does not start a formula.
    """
    figure.text(
        x / WIDTH, y / HEIGHT, text, fontsize=size, color=colour, ha=side, va="baseline", parse_math=False
    )  # fmt: skip


def _rectangle(left: float, bottom: float, width: float, height: float) -> tuple[float, float, float, float]:
    """Convert a rectangle from inches to fractions of the size of the figure."""
    return left / WIDTH, bottom / HEIGHT, width / WIDTH, height / HEIGHT
