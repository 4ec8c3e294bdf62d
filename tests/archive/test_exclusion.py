import pytest

from cxr_ray.archive.exclusion import Exclusion


@pytest.mark.parametrize(
    ("pattern", "name", "is_covered"),
    [
        ("*/masks/*", "COVID/masks/1.png", True),
        ("*/masks/*", "masks/1.png", True),
        ("**/masks/*", "masks/1.png", True),
        ("/masks/*", "masks/1.png", True),
        ("/masks/*", "COVID/masks/1.png", False),
        ("masks/*", "masks/1.png", True),
        ("masks/*", "COVID/masks/1.png", False),
        ("*/1.png", "1.png", True),
        ("*/masks/*", "unmasks/1.png", False),
        ("[!a]*", "a/1.png", False),
        ("?b*", "b.png", False),
    ],
)
def test_a_pattern_matches_whole_names_from_the_listed_folder_on(pattern, name, is_covered):
    assert Exclusion([pattern]).covers(name) is is_covered


def test_patterns_that_matched_nothing_are_known_also_where_others_match_first():
    exclusion = Exclusion(["a/*", "none/*", "a/1*", "*.txt"])
    assert [exclusion.covers(name) for name in ("a/1.png", "b.png")] == [True, False]
    assert exclusion.unmatched == ["none/*", "*.txt"]


def test_without_patterns_nothing_is_left_out():
    assert not Exclusion(()).covers("a.png")
    assert Exclusion(()).unmatched == []
