import numpy as np
from scipy import ndimage

from cxr_ray.evaluation.lung_masks import divide_lungs
from cxr_ray.phantoms.phantom import draw_phantom


def rectangles(*boxes, shape=(40, 60)):
    mask = np.zeros(shape, bool)
    for top, bottom, left, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


RIGHT, LEFT = (5, 35, 5, 20), (5, 35, 40, 55)
TRUTH = rectangles(RIGHT, LEFT)


def test_the_right_lung_is_on_the_left_side_of_the_image():
    lungs = divide_lungs(TRUTH, TRUTH)
    assert np.array_equal(lungs["right"].true, rectangles(RIGHT))
    assert np.array_equal(lungs["left"].predicted, rectangles(LEFT))


def test_a_predicted_pixel_belongs_to_the_nearer_lung():
    """Computed directly by distance transforms; the prediction joins both lungs."""
    predicted = rectangles((2, 30, 0, 48))
    lungs = divide_lungs(predicted, TRUTH)

    to_right, to_left = (ndimage.distance_transform_edt(~rectangles(box)) for box in (RIGHT, LEFT))
    assert np.array_equal(lungs["right"].predicted, predicted & (to_right <= to_left))
    assert np.array_equal(lungs["left"].predicted, predicted & (to_right > to_left))


def test_every_predicted_pixel_of_a_phantom_belongs_to_one_lung():
    truth = draw_phantom("Normal", seed=3, size=128).lung_mask
    predicted = ndimage.binary_dilation(np.roll(truth, 5, axis=1), iterations=2)
    lungs = divide_lungs(predicted, truth)

    assert np.array_equal(lungs["right"].predicted | lungs["left"].predicted, predicted)
    assert not (lungs["right"].predicted & lungs["left"].predicted).any()
    assert np.array_equal(lungs["right"].true | lungs["left"].true, truth)


def test_a_lung_without_a_predicted_pixel_is_empty():
    lungs = divide_lungs(rectangles(LEFT), TRUTH)
    assert not lungs["right"].predicted.any()
    assert np.array_equal(lungs["left"].predicted, rectangles(LEFT))


def test_a_truth_without_two_lungs_is_not_divided():
    assert divide_lungs(TRUTH, rectangles(RIGHT)) is None
    assert divide_lungs(TRUTH, np.zeros_like(TRUTH)) is None
