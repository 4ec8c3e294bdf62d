"""File names of pictures must be safe, inside one folder and unique."""

from pathlib import PurePosixPath

import pytest

from cxr_ray.evaluation.picture_names import picture_names, safe_stem

SUFFIX = "_prediction.png"


@pytest.mark.parametrize(
    ("source", "stem"),
    [
        ("a/b/film.png", "film"),
        ("film", "film"),
        ("s3://bucket/IM 0001.v2.dcm", "IM 0001.v2"),
        ("Thorax_Männlich.jpg", "Thorax_Männlich"),
        ("..", "image"),
        ("../..", "image"),
        ("s3://bucket/..png", "image"),
        (".hidden.png", "hidden"),
        ("C:\\films\\a.png", "a"),
        ("a\nb\0c*?.png", "a_b_c__"),
        ("", "image"),
        ("///", "image"),
        ("x" * 300 + ".png", "x" * 80),
    ],
)
def test_a_stem_is_a_plain_name(source, stem):
    assert safe_stem(source) == stem


def test_no_name_leaves_the_folder_and_every_name_is_unique():
    sources = [
        "a/x.png",
        "b/x.png",
        "b/x.dcm",
        "X.png",
        "x_2.png",
        "..",
        "../../etc/passwd",
        "a/x.png",
        "/",
        "s3://b/x.png",
    ]
    names = picture_names(sources, suffix=SUFFIX)
    assert len({name.casefold() for name in names}) == len(sources)
    for name in names:
        assert PurePosixPath(name).name == name
        assert name.endswith(SUFFIX)
        assert not name.startswith(".")
    assert names[:5] == [f"{stem}{SUFFIX}" for stem in ("x", "x_2", "x_3", "X_4", "x_2_2")]


def test_a_picture_never_takes_the_name_of_an_image_that_is_read():
    assert picture_names(["x.png"], suffix=SUFFIX, taken=["X_prediction.png"]) == ["x_2_prediction.png"]
