"""The groups of near duplicates are those of comparing all pairs, whatever the hashes, the distance and the keys."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from cxr_ray.preparation import near_duplicates as module
from cxr_ray.preparation.near_duplicates import key_count, key_masks, near_duplicate_groups


def words_of(bits):
    return np.packbits(bits, axis=1).view(np.uint64)


def by_brute_force(bits, distance):
    """First member of each hash's group, from the distances of all pairs."""
    near = (bits[:, None] != bits[None]).sum(2) <= distance
    count, names = connected_components(near, directed=False)
    first = {name: int(np.flatnonzero(names == name)[0]) for name in range(count)}
    return [first[name] for name in names]


@st.composite
def hashes(draw):
    """Hashes bool [N, bits] of a few images, each with copies that differ in some bits, and with bits that hardly vary."""
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, bits = draw(st.integers(1, 60)), draw(st.sampled_from([64, 128, 256]))
    originals = random.random((draw(st.integers(1, count)), bits)) < random.choice([0.02, 0.5, 0.98], bits)
    copies = originals[random.integers(0, len(originals), count)]
    return copies ^ (random.random(copies.shape) < draw(st.sampled_from([0, 0.02, 0.06, 0.2])))


@settings(deadline=None, max_examples=60)
@given(hashes(), st.integers(0, 40), st.sampled_from([0, 1, None]), st.sampled_from([3, 2**20]))
def test_groups_are_those_of_brute_force(bits, distance, left_out, pairs_at_once):
    """Also if the plan is another than the cheapest (None compares all pairs), and if pairs come in many portions."""
    with pytest.MonkeyPatch.context() as patched:
        keys = None if left_out is None else key_masks(bits.shape[1], distance, left_out)
        patched.setattr(module, "_cheapest_keys", lambda *_: keys)
        patched.setattr(module, "PAIRS_AT_ONCE", pairs_at_once)
        patched.setattr(module, "ROWS_AT_ONCE", 7)
        found = near_duplicate_groups(words_of(bits), distance)
    assert found.dtype == np.int64
    assert found.tolist() == by_brute_force(bits, distance)


@pytest.mark.parametrize("left_out", [0, 1, 2])
@pytest.mark.parametrize(("bits", "distance"), [(64, 0), (64, 5), (128, 24), (128, 64), (256, 24)])
def test_any_two_hashes_within_the_distance_have_an_equal_key(bits, distance, left_out):
    random = np.random.default_rng(0)
    masks = np.stack(key_masks(bits, distance, left_out))
    assert len(masks) == key_count(bits, distance, left_out)
    for _ in range(200):
        differing = np.zeros(bits, bool)
        differing[random.choice(bits, distance, replace=False)] = True
        assert (masks & np.packbits(differing).view(np.uint64) == 0).all(1).any()


@pytest.mark.parametrize("distance", [0, 10, 24, 60])
def test_a_copy_at_the_very_distance_is_found_and_one_beyond_is_not(distance):
    random = np.random.default_rng(distance)
    bits = random.random((3000, 256)) < 0.5
    for pair in range(50):
        bits[2 * pair] = bits[2 * pair + 1]
        bits[2 * pair, random.choice(256, distance + pair % 2, replace=False)] ^= True
    found = near_duplicate_groups(words_of(bits), distance)
    expected = np.arange(3000)
    expected[1:100:4] = np.arange(0, 100, 4)
    assert found.tolist() == expected.tolist()


def test_a_crowd_of_copies_compares_few_of_its_pairs(monkeypatch):
    """20,000 copies of one image have 200 million pairs."""
    random = np.random.default_rng(0)
    crowd = np.repeat(random.random((1, 256)) < 0.5, 20_000, axis=0)
    crowd ^= random.random(crowd.shape) < 0.03
    others = random.random((20_000, 256)) < 0.5
    compared = []
    distances = module._distances
    monkeypatch.setattr(module, "_distances", lambda *a: compared.append(len(a[1])) or distances(*a))
    found = near_duplicate_groups(words_of(np.concatenate([crowd, others])), 24)
    assert len(set(found[:20_000].tolist())) < 20
    assert len(set(found[20_000:].tolist())) == 20_000
    assert sum(compared) < 20e6


@pytest.mark.parametrize("count", [0, 1])
def test_without_pairs_everything_stands_alone(count):
    assert near_duplicate_groups(np.zeros((count, 4), np.uint64), 3).tolist() == list(range(count))
