import pytest

from cxr_ray.evaluation.fitted_text import ELLIPSIS, fitted, fitting_size, text_width


def test_width_grows_with_text_and_size():
    assert text_width("ii", size=10) < text_width("WW", size=10)
    assert text_width("lung", size=20) == pytest.approx(2 * text_width("lung", size=10), rel=0.05)
    assert text_width("$x_1$", size=10) > text_width("x1", size=10), "the text is not parsed as a formula"


def test_a_text_that_fits_is_left_alone():
    assert fitted("Normal", text_width("Normal", size=12), size=12) == "Normal"


@pytest.mark.parametrize("width", [0.3, 0.6, 1.2])
def test_a_text_that_does_not_fit_is_cut_as_late_as_possible(width):
    text = "viral pneumonia of both lungs"
    cut = fitted(text, width, size=12)
    assert cut.endswith(ELLIPSIS)
    assert text.startswith(cut[:-1])
    assert text_width(cut, size=12) <= width
    longer = text[: len(cut)].rstrip() + ELLIPSIS
    assert text_width(longer, size=12) > width or longer == cut


def test_where_nothing_fits_the_ellipsis_is_left():
    assert fitted("Normal", 0.0, size=12) == ELLIPSIS


def test_a_size_is_as_large_as_the_width_allows_within_its_bounds():
    text, largest, smallest = "Lung Opacity", 22.0, 13.0
    whole = text_width(text, size=largest)
    assert fitting_size(text, 2 * whole, largest=largest, smallest=smallest) == largest
    assert fitting_size(text, 0.1 * whole, largest=largest, smallest=smallest) == smallest
    between = fitting_size(text, 0.75 * whole, largest=largest, smallest=smallest)
    assert text_width(text, size=between) == pytest.approx(0.75 * whole, rel=0.03)
