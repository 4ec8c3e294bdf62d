from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.preparation.groups import equal_pairs, group_by_pairs


@given(st.lists(st.one_of(st.none(), st.integers(0, 5), st.text(max_size=1))))
def test_equal_values_chain_together_and_none_equals_nothing(values):
    groups = group_by_pairs(len(values), equal_pairs(values))
    for i, j in combinations(range(len(values)), 2):
        assert (groups[i] == groups[j]) == (values[i] is not None and values[i] == values[j])


def _reachable(count: int, pairs: list[tuple[int, int]]) -> list[int]:
    """Smallest member of each item's component, found by relabelling until nothing changes."""
    smallest = list(range(count))
    for _ in range(count):
        for i, j in pairs:
            smallest[i] = smallest[j] = min(smallest[i], smallest[j])
    return smallest


@given(st.data(), st.integers(1, 25))
def test_groups_are_the_connected_components(data, count):
    item = st.integers(0, count - 1)
    pairs = data.draw(st.lists(st.tuples(item, item), max_size=40))
    half = len(pairs) // 2
    halves = (np.array(part, np.int64).reshape(-1, 2) for part in (pairs[:half], pairs[half:]))
    groups = group_by_pairs(count, *halves)
    smallest = _reachable(count, pairs)
    for i, j in combinations(range(count), 2):
        assert (groups[i] == groups[j]) == (smallest[i] == smallest[j])


@pytest.mark.parametrize("count", [0, 1, 3])
def test_without_pairs_everything_stands_alone(count):
    assert group_by_pairs(count).tolist() == list(range(count))
    assert equal_pairs([]).shape == (0, 2)
