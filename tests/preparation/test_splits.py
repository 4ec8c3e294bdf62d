import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.preparation.splits import assign_splits
from cxr_ray.schema import SPLITS

FRACTIONS = st.sampled_from([(0.7, 0.2, 0.1), (0.8, 0.2, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (1 / 3, 1 / 3, 1 / 3)])
Image = tuple[str, int, str]  # label, group, content


@st.composite
def archives(draw: st.DrawFn, mixed: bool = True) -> list[Image]:
    """Images in groups of 1 to 6; with `mixed`, a group may span classes."""
    images = []
    for group, size in enumerate(draw(st.lists(st.integers(1, 6), min_size=1, max_size=40))):
        label = draw(st.sampled_from("ABCD"))
        for member in range(size):
            name = draw(st.sampled_from("ABCD")) if mixed else label
            images.append((name, group, f"{group:03}-{member}"))
    return images


def split_of_content(images: list[Image], fractions: tuple[float, float, float], seed: int) -> dict[str, str]:
    labels, groups, contents = zip(*images, strict=True)
    chosen = assign_splits(labels, groups, contents, fractions=fractions, seed=seed)
    return dict(zip(contents, chosen, strict=True))


@given(archives(), FRACTIONS, st.integers(0, 9))
def test_every_image_has_a_split_and_no_group_is_parted(images, fractions, seed):
    chosen = split_of_content(images, fractions, seed)
    assert len(chosen) == len(images)
    assert set(chosen.values()) <= {split for split, fraction in zip(SPLITS, fractions, strict=True) if fraction > 0}
    splits_of_group = defaultdict(set)
    for _, group, content in images:
        splits_of_group[group].add(chosen[content])
    assert all(len(splits) == 1 for splits in splits_of_group.values())


@pytest.mark.slow
@given(archives(), FRACTIONS, st.integers(0, 9), st.randoms(use_true_random=False))
def test_order_and_group_numbers_do_not_matter(images, fractions, seed, shuffler: random.Random):
    shuffled = list(images)
    shuffler.shuffle(shuffled)
    numbers = list(range(100, 100 + len(images)))
    shuffler.shuffle(numbers)
    renumbered = [(label, numbers[group], content) for label, group, content in shuffled]
    assert split_of_content(renumbered, fractions, seed) == split_of_content(images, fractions, seed)


@given(archives(mixed=False), FRACTIONS, st.integers(0, 9))
def test_each_class_is_divided_to_within_one_group(images, fractions, seed):
    chosen = split_of_content(images, fractions, seed)
    totals = Counter(label for label, _, _ in images)
    got = Counter((label, chosen[content]) for label, _, content in images)
    sizes = Counter((label, group) for label, group, _ in images)
    for label, total in totals.items():
        largest = max(size for (name, _), size in sizes.items() if name == label)
        for split, fraction in zip(SPLITS, fractions, strict=True):
            assert abs(got[label, split] - fraction * total) <= largest + 1e-6


def test_the_seed_alone_decides():
    images = [("ABCD"[n % 4], n, f"{n:04}") for n in range(400)]
    first = split_of_content(images, (0.7, 0.2, 0.1), 0)
    assert first == split_of_content(images, (0.7, 0.2, 0.1), 0)
    assert first != split_of_content(images, (0.7, 0.2, 0.1), 1)
    assert Counter(first.values()) == {"train": 280, "val": 80, "test": 40}


@pytest.mark.parametrize("fractions", [(0.7, 0.2, 0.1), (0.5, 0.25, 0.25)])
def test_a_rare_class_is_in_every_split(fractions):
    images = [("common", n, f"c{n:04}") for n in range(1000)] + [("rare", 1000 + n, f"r{n:04}") for n in range(20)]
    chosen = split_of_content(images, fractions, 0)
    rare = Counter(chosen[content] for label, _, content in images if label == "rare")
    assert [rare[split] for split in SPLITS] == [round(20 * fraction) for fraction in fractions]
