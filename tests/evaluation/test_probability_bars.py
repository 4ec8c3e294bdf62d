import pytest
from matplotlib.figure import Figure

from cxr_ray.evaluation.probability_bars import MAX_BARS, draw_probabilities, shown_probabilities
from cxr_ray.models.classifier import Prediction


def prediction_of(**probabilities):
    label = max(probabilities, key=probabilities.get)
    return Prediction(label=label, confidence=probabilities[label], entropy=0.5, probabilities=probabilities)


def drawn(prediction):
    """Returns the texts of the panel and the widths of its bars, from top to bottom."""
    figure = Figure(figsize=(8, 4))
    draw_probabilities(figure, prediction, (0.5, 0.1, 0.4, 0.8))
    (axes,) = figure.axes
    return [text.get_text() for text in axes.texts], [bar.get_width() for bar in axes.patches]


def test_few_classes_keep_the_order_of_the_bundle():
    probabilities = {"COVID": 0.1, "Normal": 0.7, "Viral_Pneumonia": 0.2}
    assert list(shown_probabilities(prediction_of(**probabilities)).items()) == list(probabilities.items())


def test_of_many_classes_the_most_probable_are_shown_in_falling_order():
    probabilities = {f"finding_{n}": (n + 1) / 45 for n in range(9)}
    assert list(shown_probabilities(prediction_of(**probabilities))) == [f"finding_{n}" for n in range(8, 2, -1)]


def test_the_panel_names_the_label_the_confidence_and_every_class_with_its_bar():
    texts, widths = drawn(prediction_of(COVID=0.1, Normal=0.7, Viral_Pneumonia=0.2))
    assert texts[:2] == ["Normal", "confidence 70.0%"]
    assert texts[2:] == ["COVID", "10.0%", "Normal", "70.0%", "Viral Pneumonia", "20.0%"]
    assert widths[1::2] == pytest.approx([0.1, 0.7, 0.2]), "each bar must be on a track of full width"
    assert set(widths[::2]) == {1}


@pytest.mark.parametrize(("more", "text"), [(1, "and 1 less probable class"), (3, "and 3 less probable classes")])
def test_classes_that_are_not_shown_are_counted(more, text):
    count = MAX_BARS + more
    texts, _ = drawn(prediction_of(**{f"f{n}": 2 * (n + 1) / (count * (count + 1)) for n in range(count)}))
    assert texts[-1] == text
