import numpy as np
import pytest

from cxr_ray.phantoms.phantom_strokes import View, edge, fork, grow, smooth_minimum, smooth_noise


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("size", [128, 256, 512])
def test_a_line_is_as_high_as_its_weight_at_every_size(rng, size):
    view = View(size=size, zoom=1.05, angle=0.1, shift=np.array([0.02, -0.03]))
    picture = view.trace(grow(rng, np.zeros((1, 2)), np.zeros(1), np.array([0.5])), sigma=0.02)
    assert picture.max() == pytest.approx(1, abs=0.15)


def test_a_line_lies_where_its_body_coordinates_say(rng):
    view = View(size=200, zoom=0.9, angle=0.3, shift=np.array([0.1, -0.2]))
    line = grow(rng, np.array([[0.3, 0.2]]), np.zeros(1), np.array([0.03]))
    u, v = view.body_grid()
    crest = np.unravel_index(np.argmax(view.trace(line, sigma=0.01)), u.shape)
    assert (u[crest], v[crest]) == pytest.approx((0.31, 0.2), abs=0.03)


def test_lines_outside_the_film_are_left_out(rng):
    view = View(size=64, zoom=1.0, angle=0.0, shift=np.zeros(2))
    assert not view.trace(grow(rng, np.full((3, 2), 5.0), np.zeros(3), np.full(3, 0.2)), sigma=0.01).any()


def test_branches_start_on_their_parents(rng):
    parents = grow(rng, np.zeros((4, 2)), np.arange(4.0), np.full(4, 0.4))
    children = fork(rng, parents, children=3)
    assert children.points.shape[0] == 12
    for child, parent in zip(children.points, np.repeat(parents.points, 3, axis=0), strict=True):
        assert np.linalg.norm(parent - child[0], axis=1).min() < 0.01


def test_noise_has_unit_variance(rng):
    fields = np.stack([smooth_noise(rng, 64, 12) for _ in range(50)])
    assert fields.std() == pytest.approx(1, abs=0.05)
    assert np.abs(np.diff(fields, axis=1)).mean() < 0.3


def test_soft_edges_and_minima_keep_their_bounds():
    line = np.linspace(-1, 1, 101)
    assert (edge(line, 0.2)[[0, 50, 100]] == [0, 0.5, 1]).all()
    assert (np.diff(edge(line, 0.2)) >= 0).all()
    assert (smooth_minimum(line, -line, 0.1) <= np.minimum(line, -line)).all()
