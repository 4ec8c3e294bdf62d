import pytest

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.finding_rows import LabelledPath
from cxr_ray.preparation.match_images import match_images


def match(image_ids, *paths):
    return match_images(image_ids, [LabelledPath(f"line {n}", path, (), None, None) for n, path in enumerate(paths, 2)])


@pytest.mark.parametrize(
    ("image_id", "path"),
    [
        ("1.png", "1.png"),
        ("images_001/images/1.png", "1.png"),
        ("train/patient1/study1/view1.jpg", "CheXpert-v1.0-small/train/patient1/study1/view1.jpg"),
        ("files/p10/p1/s5/02aa-9f.dcm", "02aa-9f"),
        ("1.2.840.113.7.dcm", "1.2.840.113.7"),
        ("b/1.jpg", "b\\1.png"),
        ("b/1.jpg", " ./b//1.JPG"),
    ],
)
def test_either_may_name_more_folders_and_another_suffix(image_id, path):
    assert match(["other/x.png", image_id], path) == [1]


def test_a_path_with_folders_does_not_name_an_image_in_other_folders():
    assert match(["a/1.png", "b/2.png"], "c/1.png", "2.png", "3.png") == [None, 1, None]


def test_the_whole_path_and_the_suffix_come_first():
    assert match(["1.png", "sub/1.png", "1.jpg"], "1.png", "sub/1.png", "1.jpg") == [0, 1, 2]


@pytest.mark.parametrize(
    ("image_ids", "paths", "message"),
    [
        (["a/1.png", "b/1.png"], ["1.png"], "line 2 names several images by '1.png'"),
        (["1.png", "1.jpg"], ["1"], "line 2 names several images by '1'"),
        (["a/1.png"], ["1.png", "a/1.png"], "line 2 and line 3 both name a/1.png"),
    ],
)
def test_what_is_not_certain_is_refused(image_ids, paths, message):
    with pytest.raises(DatasetError, match=message):
        match(image_ids, *paths)
