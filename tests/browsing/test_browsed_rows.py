import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.browsing.browsed_rows import read_browsed_rows
from cxr_ray.errors import DatasetError, StorageError
from cxr_ray.schema import LABELS, predictions_schema, scores_schema

MASK = np.eye(4, dtype=bool)


def read(uri, masks=None, most=100):
    return read_browsed_rows(uri, masks, max_rows=most, seed=0)


def test_rows_are_sorted_and_keep_what_the_page_needs(write_rows, rows_of):
    flagged = rows_of["scored"]("b", "Normal", 0.7, qc_flags=["dark"])
    rows = read(write_rows([flagged, rows_of["failed"]("a"), rows_of["scored"]("c", "COVID", 0.9)]))
    assert rows.found == 3
    assert rows.table["image_id"].to_pylist() == ["a", "b", "c"]
    assert rows.table["qc_flags"].to_pylist() == [None, ["dark"], None]
    assert {"prob_covid", "error_kind", "confidence"} <= set(rows.table.column_names)
    assert "patient_key" not in rows.table.column_names
    assert rows.masks_uri is None


def test_flags_may_be_absent(write_rows, rows_of):
    schema = predictions_schema(LABELS)
    earlier = schema.remove(schema.get_field_index("qc_flags"))
    rows = read(write_rows([rows_of["scored"]("a", "COVID", 0.9)], schema=earlier))
    assert "qc_flags" not in rows.table.column_names


def test_more_rows_than_the_limit_are_drawn_and_always_the_same(write_rows, rows_of):
    output = write_rows([rows_of["scored"](f"{number:03d}", "COVID", 0.9) for number in range(200)])
    rows = read(output, most=50)
    names = rows.table["image_id"].to_pylist()
    assert (len(names), rows.found) == (50, 200)
    assert names == read(output, most=50).table["image_id"].to_pylist()
    assert names != [f"{number:03d}" for number in range(50)]


def test_masks_of_another_output_join_by_name(write_rows, rows_of):
    scored = write_rows([rows_of["scored"]("a", "COVID", 0.9), rows_of["scored"]("b", "COVID", 0.8)])
    masks = write_rows([rows_of["masked"]("b", "/b", MASK, uncertainty=0.25)], "masks", to="segmented")
    rows = read(scored, masks)
    assert rows.table["mask_status"].to_pylist() == [None, "ok"]
    assert rows.table["uncertainty"].to_pylist() == [None, 0.25]
    assert rows.masks_uri == f"{masks}/masks"
    assert "mask_counts" not in rows.table.column_names


def test_an_output_of_masks_alone_is_read(write_rows, rows_of):
    rows = read(write_rows([rows_of["masked"]("b", "/b", MASK)], "masks"))
    assert rows.table["status"].to_pylist() == ["ok"]
    assert rows.table["area_fraction"].to_pylist() == [0.25]
    assert rows.masks_uri is not None
    assert rows.masks_uri.endswith("/masks")


def test_the_output_of_the_cascade_holds_both(write_rows, rows_of):
    row = rows_of["scored"]("a", "COVID", 0.9) | rows_of["masked"]("a", "/a", MASK) | {"mask_status": "ok"}
    rows = read(write_rows([row], "scores", schema=scores_schema(LABELS)))
    assert rows.table["mask_status"].to_pylist() == ["ok"]
    assert rows.table["label"].to_pylist() == ["COVID"]


def test_what_cannot_be_browsed_is_named(write_rows, rows_of, tmp_path):
    twice = write_rows([rows_of["failed"]("a"), rows_of["failed"]("a")])
    with pytest.raises(DatasetError, match="image_id 'a' occurs 2 times"):
        read(twice)
    with pytest.raises(DatasetError, match=r"empty/predictions has no row; name the output of an archive job"):
        read(write_rows([], to="empty"))
    with pytest.raises(StorageError, match="no table at"):
        read(str(tmp_path / "none"))
    foreign = write_rows([{"image_id": "a"}], schema=pa.schema([("image_id", pa.string())]), to="foreign")
    with pytest.raises(StorageError, match="has no column status, uri"):
        read(foreign)
