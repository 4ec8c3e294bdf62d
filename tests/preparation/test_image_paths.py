import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.image_paths import ImagePaths

ROOT = "/data/archive"
IDS = ["COVID/images/a.png", "COVID/images/b é.png", "Normal/images/b é.png", "Normal/images/c\\xe9.png"]
PATHS = ImagePaths((name, f"{ROOT}/{name}") for name in IDS)


@pytest.mark.parametrize(
    "path",
    [
        "COVID/images/a.png",
        "./COVID/images/a.png",
        ".\\COVID\\images\\a.png",
        "COVID//images/./a.png",
        " COVID/images/a.png ",
        "/data/archive/COVID/images/a.png",
        "file:///data/archive/COVID/images/a.png",
        "a.png",
    ],
)
def test_spellings_of_a_path_name_the_image(path):
    assert PATHS.find(path, 2) == 0


def test_accents_and_escapes_name_the_image():
    assert PATHS.find("COVID/images/b e\u0301.png", 2) == 1
    assert PATHS.find("Normal/images/c\\xe9.png", 2) == 3


@pytest.mark.parametrize(
    "path",
    ["covid/images/a.png", "images/a.png", "/COVID/images/a.png", "b.png", "s3://data/archive/COVID/images/a.png", ""],
)
def test_other_paths_name_no_image(path):
    assert PATHS.find(path, 2) is None


def test_uris_of_object_stores_name_the_image():
    paths = ImagePaths([("images/a.png", "s3://bucket/x/images/a.png")])
    assert paths.find("s3://bucket/x/images/a.png", 2) == 0
    assert paths.find("bucket/x/images/a.png", 2) is None


def test_a_file_name_of_several_images_is_refused():
    with pytest.raises(
        DatasetError, match=r"line 7 of metadata.csv names 2 images by 'b é.png'; write their paths with all"
    ):
        PATHS.find("b é.png", 7)


@given(st.lists(st.text(alphabet="ab.\\é ", min_size=1), min_size=1, unique=True))
def test_an_image_is_found_by_its_own_path_whatever_it_is(names):
    paths = ImagePaths((f"images/{name}", f"s3://b/images/{name}") for name in names)
    assert [paths.find(f"images/{name}", 2) for name in names] == list(range(len(names)))
