import io

import numpy as np
import pytest
from PIL import Image, ImageColor

from cxr_ray.evaluation.figures import DARK, LIGHT, confusion_matrix_png


def colours(png: bytes) -> set[tuple[int, int, int]]:
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    return {colour for _, colour in picture.getcolors(maxcolors=2**24)}


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_colour_is_the_fraction_of_the_true_class(palette):
    # The colour is as strong for a class of few images as for a class of many.
    png = confusion_matrix_png(np.array([[1000, 0], [0, 3]]), ("Normal", "COVID"), palette)

    shown = colours(png)
    assert {ImageColor.getrgb(getattr(palette, name)) for name in ("surface", "faint", "strong")} <= shown


@pytest.mark.slow
@pytest.mark.parametrize("classes", [1, 4, 40])
def test_any_number_of_classes_is_drawn(classes):
    labels = [f"Class_{k}" for k in range(classes)]
    png = confusion_matrix_png(np.zeros((classes, classes), dtype=np.int64), labels)

    width, height = Image.open(io.BytesIO(png)).size
    assert 200 < width < 3500
    assert 200 < height < 3500


def test_pyplot_keeps_no_figure():
    import matplotlib.pyplot as plt

    confusion_matrix_png(np.eye(2, dtype=np.int64), ("a", "b"))
    assert plt.get_fignums() == []
