"""In the picture of a prediction, no text overlaps another, and the outline and the heat are at their positions."""

import io
from itertools import combinations

import numpy as np
import pytest
from PIL import Image

from cxr_ray.archive.recognise import HEAD_BYTES, is_drawn_picture
from cxr_ray.evaluation.fitted_text import fitted, fitting_size, text_width
from cxr_ray.evaluation.prediction_figure import PANEL_PIXELS, prediction_figure, prediction_png, with_heat
from cxr_ray.evaluation.probability_bars import MAX_BARS, shown_probabilities
from cxr_ray.imaging.mask_runs import runs_of
from cxr_ray.imaging.radiograph import load_image
from cxr_ray.models.classifier import Prediction
from cxr_ray.models.lung_segmentation import Lung, LungSegmentation

LONG = "Enlarged_Cardiomediastinum_with_{}_words_that_nobody_could_fit_anywhere"


def radiograph(width, height):
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width), 60, np.uint8)).save(buffer, "PNG")
    return load_image(buffer.getvalue())


def prediction(labels):
    probabilities = {label: 1.0 if i == 0 else 0.0 for i, label in enumerate(labels)}
    return Prediction(label=labels[0], confidence=1.0, probabilities=probabilities, entropy=0.0)


def segmentation(height, width, *, empty=False):
    mask = np.zeros((height, width), bool)
    if not empty:
        mask[height // 4 : height // 2, width // 4 : width // 2] = True
    lung = None if empty else Lung(area_fraction=1.0, centroid_xy=(1.0, 1.0), uncertainty=1234.5)
    return LungSegmentation(
        runs=runs_of(mask), uncertainty=1234.5, symmetry=None, right=lung, left=None,
        boxes_xyxy=np.zeros((0, 4), np.float32), entropy=np.zeros((4, 4), np.float32),
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("labels", "size", "lungs", "title"),
    [
        (("COVID", "Lung_Opacity", "Normal", "Viral_Pneumonia"), (255, 249), True, "Grad-CAM for Viral Pneumonia"),
        (("not_Pneumonia",), (50, 200), False, "Attention roll-out"),
        (tuple(LONG.format(i) for i in range(14)), (400, 30), True, f"Grad-CAM for {LONG}"),
        (("$x^2$", "{", "a\\b"), (1, 1), False, "Grad-CAM for $x$"),
    ],
)
def test_no_text_overlaps_another_or_leaves_the_page(labels, size, lungs, title):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    image = radiograph(*size)
    heat = np.zeros((image.height, image.width), np.float32)
    lungs_found = segmentation(image.height, image.width, empty=size[1] == 30) if lungs else None
    figure = prediction_figure(
        image, prediction(labels), lungs_found, heat, heat_title=title, model_id="densenet121-" + "0123456789ab" * 9
    )
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    boxes = {text.get_text() + str(i): text.get_window_extent(renderer) for i, text in enumerate(texts)}
    assert len(boxes) >= 8
    assert {(a, b) for (a, one), (b, other) in combinations(boxes.items(), 2) if one.overlaps(other)} == set()
    page = figure.bbox
    for text, box in boxes.items():
        assert page.x0 <= box.x0, text
        assert box.x1 <= page.x1, text
        assert page.y0 <= box.y0, text
        assert box.y1 <= page.y1, text


def test_the_png_shows_outline_and_heat_where_they_are():
    image, heat = radiograph(200, 200), np.zeros((200, 200), np.float32)
    heat[150:, 150:] = 1.0
    data = prediction_png(
        image, prediction(("a", "b")), segmentation(200, 200), heat, heat_title="Grad-CAM for a", model_id="m"
    )
    with Image.open(io.BytesIO(data)) as picture:
        assert (picture.format, picture.size) == ("PNG", (2130, 900))
        assert is_drawn_picture(data[:HEAD_BYTES]), "a listing must not take the picture for a radiograph"
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    left = pixels[90:840, 45:795]
    right = pixels[90:840, 840:1590]
    rim = left[PANEL_PIXELS * 3 // 8, PANEL_PIXELS // 4 - 3 : PANEL_PIXELS // 4 + 3]
    assert (rim[:, 0] - rim[:, 2]).max() > 100, "the left edge of the mask must be amber"
    assert np.ptp(left[600, 700]) == 0, "the plain radiograph must have no heat"
    assert right[700, 700, 0] - right[700, 700, 2] > 60, "the lower right corner must be hot"
    assert np.ptp(right[100, 500]) == 0, "the rest must have no heat"


def test_without_heat_a_picture_stays_as_it_was():
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    np.testing.assert_array_equal(with_heat(picture, np.zeros((60, 80), np.float32)), picture)


def test_of_many_classes_the_most_probable_ones_are_shown():
    probabilities = {f"c{i}": i / 45 for i in range(10)}
    shown = shown_probabilities(Prediction(label="c9", confidence=0.2, probabilities=probabilities, entropy=2.0))
    assert list(shown) == [f"c{i}" for i in range(9, 9 - MAX_BARS, -1)]


def test_a_text_is_cut_only_where_it_is_too_wide():
    text = "a rather long title"
    width = text_width(text, size=12)
    assert fitted(text, width + 0.01, size=12) == text
    cut = fitted(text, width / 2, size=12)
    assert cut.endswith("…")
    assert text.startswith(cut[:-1])
    assert width / 4 < text_width(cut, size=12) <= width / 2
    assert fitted(text, 0.0, size=12) == "…"
    assert fitting_size(text, width / 2, largest=12, smallest=2) == pytest.approx(6, rel=0.02)
    assert (fitting_size(text, 99, largest=12, smallest=2), fitting_size(text, 0.1, largest=12, smallest=8)) == (12, 8)
