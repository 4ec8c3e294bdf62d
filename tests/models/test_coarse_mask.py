import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from cxr_ray.models.coarse_mask import (
    coarse_masks,
    draw_points,
    kmeans_threshold,
    largest_components,
    otsu_threshold,
    to_image_scale,
)


def lung_like_maps(count=6, size=56):
    """Maps float32 [count, size, size] in 0 to 1: two blobs of random position and height on a noisy background."""
    rng = np.random.default_rng(5)
    y, x = np.mgrid[0:size, 0:size] / size
    maps = []
    for _ in range(count):
        rough = gaussian_filter(rng.normal(size=(size, size)), 4)
        lungs = sum(
            np.exp(-((x - side - rng.normal(0, 0.03)) ** 2) / 0.01 - (y - 0.5) ** 2 / rng.uniform(0.03, 0.08))
            for side in (0.28, 0.72)
        )
        drawn = lungs + 0.15 * rough / rough.std()
        maps.append((drawn - drawn.min()) / np.ptp(drawn))
    return torch.from_numpy(np.stack(maps).astype(np.float32))


def maps_with(*rectangles, size=32):
    """One map that is 1 inside the rectangles (row, column, height, width) and 0 outside."""
    plane = torch.zeros(1, size, size)
    for row, column, height, width in rectangles:
        plane[0, row : row + height, column : column + width] = 1
    return plane


def spread_within(values, threshold):
    """Sum of squared distances of the values from the mean of their side of the threshold."""
    sides = (values[values < threshold], values[values >= threshold])
    return sum(side.var() * side.size for side in sides if side.size)


def best_threshold(values):
    """Minimum value of the upper side in the best split, found by trying all splits."""
    ordered = np.sort(values, axis=None).astype(float)
    below = np.arange(1, ordered.size)
    sums, squares = ordered.cumsum(), (ordered**2).cumsum()
    low = squares[:-1] - sums[:-1] ** 2 / below
    high = squares[-1] - squares[:-1] - (sums[-1] - sums[:-1]) ** 2 / (ordered.size - below)
    within = np.where(np.diff(ordered) > 0, low + high, np.inf)
    return ordered[1:][within.argmin()]


def test_otsu_is_the_best_of_all_splits_of_256_bins():
    maps = lung_like_maps()
    for plane, threshold in zip(maps.numpy(), otsu_threshold(maps), strict=True):
        bins = np.minimum(plane * 256, 255).astype(int)
        np.testing.assert_array_equal(plane >= threshold.item(), bins >= best_threshold(bins))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 255), min_size=2, max_size=60))
def test_otsu_leaves_the_minimum_variance_of_all_splits(levels):
    values = np.array(levels)
    threshold = otsu_threshold(torch.tensor(values / 256, dtype=torch.float32).view(1, -1)).item()
    if len(set(levels)) == 1:
        assert threshold == np.inf
        return
    expected = spread_within(values, best_threshold(values))
    assert spread_within(values, threshold * 256) == pytest.approx(expected, abs=1e-6)


def test_the_threshold_of_otsu_is_in_the_middle_of_a_gap():
    assert otsu_threshold(torch.tensor([[0.0, 0.0, 0.75, 0.75]])).item() == pytest.approx(0.377, abs=0.002)
    assert otsu_threshold(torch.tensor([[0.0, 1.0]])).item() == pytest.approx(0.5, abs=0.002)


def test_both_methods_find_the_split_of_two_means():
    from sklearn.cluster import KMeans

    maps = lung_like_maps()
    thresholds = zip(otsu_threshold(maps).tolist(), kmeans_threshold(maps).tolist(), strict=True)
    for plane, (otsu, means) in zip(maps.numpy(), thresholds, strict=True):
        best = plane >= best_threshold(plane.astype(float))
        assert 0.05 < best.mean() < 0.6
        assert ((plane >= otsu) != best).mean() < 0.01
        assert ((plane >= means) != best).mean() < 0.01
        found = KMeans(2, n_init=1, random_state=0, tol=0).fit(plane.reshape(-1, 1))
        assert spread_within(plane.astype(float), means) <= found.inertia_ * (1 + 1e-5)


def test_another_iteration_of_k_means_changes_nothing():
    maps = lung_like_maps()
    for plane, threshold in zip(maps.double().numpy(), kmeans_threshold(maps).tolist(), strict=True):
        means = plane[plane < threshold].mean(), plane[plane >= threshold].mean()
        assert threshold == pytest.approx(sum(means) / 2, abs=1e-6)


def test_the_methods_differ_by_less_than_one_percent_of_pixels():
    maps = lung_like_maps(count=16, size=224)
    otsu, means = (method(maps).view(-1, 1, 1) for method in (otsu_threshold, kmeans_threshold))
    assert ((maps >= otsu) != (maps >= means)).float().mean((1, 2)).max() < 0.01


@pytest.mark.parametrize("method", ["otsu", "kmeans", "fixed"])
def test_a_batch_gives_what_its_images_give_one_by_one(method):
    maps = lung_like_maps()
    together = coarse_masks(maps, method=method)
    for index in range(len(maps)):
        alone = coarse_masks(maps[index : index + 1], method=method)
        torch.testing.assert_close(alone.masks[0], together.masks[index], rtol=0, atol=0)
        np.testing.assert_array_equal(alone.components[0], together.components[index])
        np.testing.assert_array_equal(alone.boxes_xyxy[0], together.boxes_xyxy[index])


def test_masks_components_and_boxes_agree():
    found = coarse_masks(lung_like_maps())
    assert found.masks.dtype == torch.bool
    assert found.components.dtype == np.uint8
    np.testing.assert_array_equal(found.masks.numpy(), found.components > 0)
    for components, boxes in zip(found.components, found.boxes_xyxy, strict=True):
        areas = [(components == label + 1).sum() for label in range(len(boxes))]
        assert areas == sorted(areas, reverse=True)
        assert components.max() == len(boxes) == 2
        for label, (x0, y0, x1, y1) in enumerate(boxes.astype(int), 1):
            rows, columns = np.nonzero(components == label)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)


@pytest.mark.parametrize("method", ["otsu", "kmeans", "fixed"])
@pytest.mark.parametrize("level", [0.0, 0.2])
def test_a_flat_map_is_an_empty_mask(method, level):
    maps = torch.cat([torch.full((1, 32, 32), level), maps_with((4, 4, 9, 9))])
    found = coarse_masks(maps, method=method)
    assert found.masks.sum((1, 2)).tolist() == [0, 81]
    assert [len(boxes) for boxes in found.boxes_xyxy] == [0, 1]
    assert found.boxes_xyxy[0].shape == (0, 4)


def test_the_fixed_threshold_is_the_minimum_value_in_the_mask():
    maps = torch.tensor([[[0.3, 0.29, 0.5]]])
    assert coarse_masks(maps, method="fixed", fixed_threshold=0.3).masks.tolist() == [[[True, False, True]]]
    assert coarse_masks(maps, method="fixed", fixed_threshold=0.4).masks.tolist() == [[[False, False, True]]]


def test_the_largest_are_kept_largest_first():
    maps = maps_with((0, 0, 3, 3), (10, 10, 8, 5), (20, 20, 5, 5), (28, 0, 2, 2))
    for keep, expected in [(1, [40]), (2, [40, 25]), (3, [40, 25, 9]), (9, [40, 25, 9, 4])]:
        found = largest_components(maps > 0, keep=keep)
        assert np.bincount(found.components.ravel())[1:].tolist() == expected
        assert len(found.boxes_xyxy[0]) == len(expected)
    np.testing.assert_array_equal(largest_components(maps > 0, keep=2).boxes_xyxy[0][0], [10, 10, 15, 18])


@pytest.mark.parametrize(("side", "kept"), [(7, 0), (8, 1), (9, 1)])
def test_components_below_the_minimum_area_are_dropped(side, kept):
    found = largest_components(maps_with((1, 1, side, side)) > 0, min_area_fraction=64 / 32**2)
    assert len(found.boxes_xyxy[0]) == kept
    assert found.masks.sum() == kept * side**2


def test_pixels_that_touch_by_a_corner_are_one_component():
    diagonal = torch.eye(16, dtype=torch.bool)
    found = largest_components(torch.stack([diagonal, diagonal.flip(1)]))
    for boxes in found.boxes_xyxy:
        np.testing.assert_array_equal(boxes, [[0, 0, 16, 16]])
    apart = largest_components(torch.stack([diagonal & (torch.arange(16) % 3 < 2)]), keep=9)
    assert len(apart.boxes_xyxy[0]) == 6


def test_components_do_not_extend_over_images_of_a_batch():
    found = largest_components(torch.ones(3, 8, 8, dtype=torch.bool))
    for boxes in found.boxes_xyxy:
        np.testing.assert_array_equal(boxes, [[0, 0, 8, 8]])


@pytest.mark.parametrize(("height", "width"), [(300, 900), (1024, 512), (224, 224), (2022, 2022), (97, 61)])
@pytest.mark.parametrize("method", ["otsu", "kmeans", "fixed"])
def test_a_bright_square_returns_to_where_it_was(height, width, method):
    size, (x0, y0, x1, y1) = 56, (0.25 * width, 0.5 * height, 0.625 * width, 0.8125 * height)
    image = np.zeros((height, width), np.float32)
    x0, y0, x1, y1 = map(round, (x0, y0, x1, y1))
    image[y0:y1, x0:x1] = 1
    squashed = torch.nn.functional.interpolate(torch.from_numpy(image)[None, None], (size, size), mode="area")[0]
    (boxes,) = coarse_masks(squashed, method=method).boxes_xyxy
    (box,) = to_image_scale(boxes, size, height, width)
    pixel = np.array([width / size, height / size] * 2)
    assert (np.abs(box - [x0, y0, x1, y1]) <= pixel).all()


def test_the_corners_of_the_frame_stay_its_corners():
    boxes = np.array([[0, 0, 224, 224], [-3, 112, 230, 168]], np.float32)
    scaled = to_image_scale(boxes, 224, 301, 997)
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, np.float32([[0, 0, 997, 301], [0, 150.5, 997, 225.75]]))
    np.testing.assert_array_equal(to_image_scale(boxes[:0], 224, 301, 997), np.zeros((0, 4)))
    points = np.array([[[0.5, 223.5]]], np.float32)
    np.testing.assert_allclose(to_image_scale(points, 224, 448, 112), [[[0.25, 447]]])


@pytest.fixture(scope="module")
def two_blocks():
    return largest_components(maps_with((2, 3, 10, 6), (20, 15, 6, 8)) > 0).components[0]


def test_points_lie_at_centres_of_pixels_of_their_component(two_blocks):
    points, labels = draw_points(two_blocks, "a.png", count=12, background_count=5)
    assert points.shape == (2, 17, 2)
    assert points.dtype == np.float32
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, 2 * [12 * [1] + 5 * [0]])
    assert (points % 1 == 0.5).all()
    for label, row in enumerate(points.astype(int), 1):
        assert (two_blocks[row[:12, 1], row[:12, 0]] == label).all()
        assert (two_blocks[row[12:, 1], row[12:, 0]] == 0).all()
        assert len({tuple(point) for point in row}) == 17


def test_points_depend_only_on_the_image(two_blocks):
    first, again, other = (draw_points(two_blocks, name)[0] for name in ("a.png", "a.png", "b.png"))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_points_are_spread_evenly_over_a_mask():
    mask = np.zeros((10, 10), bool)
    mask[2:4, 5:10] = True
    drawn = np.concatenate([draw_points(mask, str(number), count=2)[0][0] for number in range(500)]).astype(int)
    counts = np.zeros((10, 10), int)
    np.add.at(counts, (drawn[:, 1], drawn[:, 0]), 1)
    assert counts[~mask].sum() == 0
    assert np.abs(counts[mask] - 100).max() < 40


def test_small_full_and_empty_masks_give_arrays_of_the_right_shape():
    small = np.zeros((4, 4), np.uint8)
    small[1, 2] = 1
    points, _ = draw_points(small, "a.png", count=3)
    np.testing.assert_array_equal(points, [3 * [[2.5, 1.5]]])
    points, labels = draw_points(np.ones((4, 4), bool), "a.png", count=3, background_count=2)
    assert points.shape == (1, 3, 2)
    assert labels.shape == (1, 3)
    points, labels = draw_points(np.zeros((4, 4), bool), "a.png", count=3, background_count=2)
    assert points.shape == (0, 5, 2)
    assert labels.shape == (0, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "crf"}, "method must be otsu, kmeans or fixed; got 'crf'"),
        ({"method": "fixed", "fixed_threshold": 0}, "fixed_threshold must be above 0 and at most 1; got 0"),
        ({"keep": 0}, "keep must be 1 to 255; got 0"),
        ({"min_area_fraction": 1.5}, "min_area_fraction must be 0 to 1; got 1.5"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        coarse_masks(lung_like_maps(1), **arguments)


def test_a_single_map_without_its_batch_is_refused():
    with pytest.raises(ValueError, match=r"saliency must be \[B, S, S\]; got \[56, 56\]"):
        coarse_masks(lung_like_maps(1)[0])
