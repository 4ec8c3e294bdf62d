import numpy as np
import torch
from hypothesis import given, settings
from hypothesis.extra.numpy import arrays

from cxr_ray.imaging.mask_components import fill_holes, ranked_components
from cxr_ray.models.coarse_mask import largest_components


def picture(*lines):
    return np.array([[letter != "." for letter in line] for line in lines])


def test_pieces_are_numbered_by_area_and_diagonal_neighbours_are_one_piece():
    mask = picture("#...##", ".#..##", "......", "#.....")
    assert ranked_components(mask).tolist() == [
        [2, 0, 0, 0, 1, 1],
        [0, 2, 0, 0, 1, 1],
        [0, 0, 0, 0, 0, 0],
        [3, 0, 0, 0, 0, 0],
    ]
    assert not ranked_components(np.zeros((3, 4), bool)).any()


@settings(max_examples=50, deadline=None)
@given(arrays(np.bool_, (9, 11)))
def test_pieces_are_those_of_the_segmenters(mask):
    assert np.array_equal(
        ranked_components(mask), largest_components(torch.from_numpy(mask)[None], keep=255).components[0]
    )


def test_holes_are_filled_and_bays_are_not():
    ring = picture("#####..", "#...#..", "#.#.###", "#...#..", "#####..")
    assert (fill_holes(ring) & ~ring).sum() == 8
    assert np.array_equal(fill_holes(ring)[:, :5], np.ones((5, 5), bool))
    bay = picture("#####", "#...#", "#.#..", "#####")
    assert np.array_equal(fill_holes(bay), bay)


def test_a_hole_is_not_left_by_a_diagonal():
    mask = picture(".####", "#...#", "#...#", "#####")
    assert fill_holes(mask).sum() == mask.sum() + 6
