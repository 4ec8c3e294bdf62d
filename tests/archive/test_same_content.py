import pyarrow as pa
import pytest

from cxr_ray.archive.same_content import refuse_other_content
from cxr_ray.errors import DatasetError


def table(contents, **columns):
    return pa.table({"image_id": list(contents), "content_sha256": pa.array(contents.values(), pa.string()), **columns})


def compared(images, rows):
    refuse_other_content(images, rows, refusal="r made {} of d's images", fix="make them again")


def test_rows_of_other_files_are_refused_with_their_number_and_the_first():
    images = table({"d": "1", "c": "2", "b": "3", "a": None})
    rows = table({"a": "9", "b": "x", "c": "y", "d": "1", "elsewhere": "z"})
    with pytest.raises(DatasetError) as refused:
        compared(images, rows)
    assert str(refused.value) == "r made 2 of d's images, first 'b' (content_sha256 was compared of 3); make them again"


def test_what_one_of_the_tables_does_not_know_is_not_compared():
    compared(table({"a": None, "b": "1"}), table({"a": "1", "b": None, "c": "2"}))
    compared(table({}), table({"a": "1"}))


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_digits_of_any_case_and_type_are_compared(kind):
    rows = table({"a": "AB", "b": "CD"})
    rows = rows.set_column(1, "content_sha256", rows["content_sha256"].cast(kind))
    compared(table({"a": "ab", "b": "cD"}), rows)
    with pytest.raises(DatasetError, match="r made 1 of d's images, first 'b'"):
        compared(table({"a": "ab", "b": "ce"}), rows)


def test_a_row_without_a_result_may_be_of_a_file_that_is_whole_now():
    images = table({"a": "1", "b": "2", "c": "3"})
    compared(images, table({"a": "cut", "b": "cut", "c": "3"}, status=["error", "skipped", "ok"]))
    with pytest.raises(DatasetError, match="made 2 of d's images, first 'b'"):
        compared(images, table({"a": "cut", "b": "x", "c": "y"}, status=["error", "empty", "ok"]))
