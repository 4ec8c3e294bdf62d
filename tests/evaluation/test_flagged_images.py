import pyarrow as pa
import pytest

from cxr_ray.archive.tables import write_table
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.flagged_images import excluded_line, without_flagged

IMAGES = pa.table({"image_id": ["a", "b", "c", "d", "e"], "split": ["test", "test", "val", "test", "test"]})
ROWS = {
    "image_id": ["a", "b", "c", "d", "of another dataset"],
    "qc_flags": [[], ["inverted", "rotated_90"], ["inverted"], None, ["inverted"]],
}


@pytest.fixture
def rows_uri(tmp_path):
    write_table(pa.table(ROWS), str(tmp_path / "rows/0.parquet"))
    return str(tmp_path / "rows")


def test_images_with_an_excluded_flag_are_left_out_and_counted(rows_uri):
    usable = without_flagged(IMAGES, rows_uri, ("rotated_90", "inverted", "lateral"))
    assert usable.images["image_id"].to_pylist() == ["a", "d", "e"], "an image without a row or pixels stays"
    assert usable.excluded == {"inverted": 2, "rotated_90": 1, "lateral": 0}
    assert usable.n_excluded == 2


def test_only_the_images_of_the_split_are_counted(rows_uri):
    usable = without_flagged(IMAGES, rows_uri, ("inverted",), split="test")
    assert usable.images["image_id"].to_pylist() == ["a", "d", "e"]
    assert (usable.excluded, usable.n_excluded) == ({"inverted": 1}, 1)


def test_other_flags_leave_nothing_out(rows_uri):
    assert without_flagged(IMAGES, rows_uri, ("lateral",)).images.num_rows == 5
    assert without_flagged(IMAGES, "/not/there", ()) == (IMAGES, {}, 0)


def test_rows_without_flags_are_named(tmp_path):
    write_table(pa.table({"image_id": ["a"]}), str(tmp_path / "rows/0.parquet"))
    with pytest.raises(
        DatasetError, match=r"rows has no column qc_flags, which exclude_flags needs; score the images again"
    ):
        without_flagged(IMAGES, str(tmp_path / "rows"), ("inverted",))


def test_a_line_says_what_was_left_out():
    assert excluded_line({}, 0) == ""
    line = excluded_line({"inverted": 1200, "lateral": 0}, 1200)
    assert line == "Images excluded by their quality flags: 1,200 (inverted: 1,200, lateral: 0)"
