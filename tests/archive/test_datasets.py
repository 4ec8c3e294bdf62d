import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cxr_ray.archive.datasets import (
    dataset_fingerprint,
    finding_labels,
    finding_values,
    read_dataset,
    read_findings,
    rows_of_split,
)
from cxr_ray.archive.tables import write_table
from cxr_ray.errors import DatasetError, StorageError
from cxr_ray.schema import DATASET

ROWS = [
    {"image_id": f"{n}.png", "uri": f"/a/{n}.png", "label": "COVID", "split": split, "content_sha256": f"{n:064x}"}
    for n, split in enumerate(["train", "val", "train", "test"])
]


def table(rows: list[dict]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=DATASET)


def test_a_dataset_comes_back(tmp_path):
    write_table(table(ROWS), f"{tmp_path}/dataset.parquet")
    assert read_dataset(f"{tmp_path}/dataset.parquet").equals(table(ROWS))
    assert read_dataset(str(tmp_path)).num_rows == 4


def test_a_dataset_of_other_tools_is_read_whatever_its_order_and_string_type(tmp_path):
    foreign = table(ROWS).select(DATASET.names[::-1])
    foreign = foreign.cast(pa.schema([(name, pa.large_string()) for name in foreign.column_names]))
    write_table(foreign.append_column("age", pa.array([1, 2, 3, 4])), f"{tmp_path}/d.parquet")
    assert read_dataset(f"{tmp_path}/d.parquet").equals(table(ROWS))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (table([]), "has no rows; make it with prepare_dataset.py"),
        (table([ROWS[0] | {"split": "dev"}]), r"names the splits \['dev'\]; only train, val, test exist"),
        (table([ROWS[0] | {"split": None}]), r"names the splits \['None'\]; only train"),
        (
            table(ROWS).set_column(2, "label", pa.array([[1]] * 4, pa.list_(pa.int64()))),
            "has a column of a wrong type: ",
        ),
    ],
)
def test_a_table_that_is_no_dataset_is_refused(changed, message, tmp_path):
    write_table(changed, f"{tmp_path}/d.parquet")
    with pytest.raises(DatasetError, match=rf"dataset {tmp_path}/d\.parquet {message}"):
        read_dataset(f"{tmp_path}/d.parquet")


def test_a_missing_column_is_named(tmp_path):
    write_table(table(ROWS).drop_columns(["split", "label"]), f"{tmp_path}/d.parquet")
    with pytest.raises(StorageError, match="has no column label, split; it has"):
        read_dataset(f"{tmp_path}/d.parquet")


def test_rows_of_a_split_are_sorted():
    assert rows_of_split(table(ROWS[::-1]), "train")["image_id"].to_pylist() == ["0.png", "2.png"]
    with pytest.raises(DatasetError, match="the dataset has no val images; splits: "):
        rows_of_split(table(ROWS[:1]), "val")


@given(st.permutations(ROWS))
def test_the_fingerprint_does_not_know_the_order_of_rows(rows):
    assert dataset_fingerprint(table(rows)) == dataset_fingerprint(table(ROWS))


@pytest.mark.parametrize("column", ["content_sha256", "label", "split"])
def test_the_fingerprint_knows_content_label_and_split(column):
    changed = table([ROWS[0] | {column: "other"}, *ROWS[1:]])
    assert dataset_fingerprint(changed) != dataset_fingerprint(table(ROWS))


def test_the_fingerprint_does_not_know_where_images_lie():
    moved = table([row | {"uri": "s3://elsewhere", "image_id": f"x/{row['image_id']}"} for row in ROWS])
    assert dataset_fingerprint(moved) == dataset_fingerprint(table(ROWS))
    assert len(dataset_fingerprint(moved)) == 16


def findings_table(**columns):
    rows = table(ROWS)
    for name, values in columns.items():
        rows = rows.append_column(name, pa.array(values))
    return rows


def test_findings_come_back_as_whole_numbers(tmp_path):
    write_table(findings_table(label_edema=[1.0, 0.0, -1.0, None], label_mass=[1, 1, 0, 0]), f"{tmp_path}/d.parquet")
    found = read_findings(f"{tmp_path}/d.parquet")
    assert finding_labels(found) == ("edema", "mass")
    assert found["label_edema"].to_pylist() == [1, 0, -1, None]
    values = finding_values(found, ("mass", "edema"))
    np.testing.assert_array_equal(values, np.array([[1, 1], [1, 0], [0, -1], [0, np.nan]], np.float32))
    assert read_dataset(f"{tmp_path}/d.parquet").column_names == DATASET.names


def test_what_is_no_dataset_of_findings_is_refused(tmp_path):
    write_table(table(ROWS), f"{tmp_path}/classes.parquet")
    with pytest.raises(
        DatasetError, match=r"has no column of a finding, such as label_edema; make it with prepare_dataset.py"
    ):
        read_findings(f"{tmp_path}/classes.parquet")
    write_table(findings_table(label_edema=[1, 0, 2, None]), f"{tmp_path}/values.parquet")
    with pytest.raises(DatasetError, match=r"column label_edema of .* has the value 2; write 1 \(present\), 0"):
        read_findings(f"{tmp_path}/values.parquet")


def test_the_fingerprint_knows_the_findings():
    one, other = (findings_table(label_edema=[1, 0, -1, last]) for last in (None, 0))
    prints = {
        dataset_fingerprint(rows)
        for rows in (table(ROWS), one, other, one.rename_columns([*DATASET.names, "label_mass"]))
    }
    assert len(prints) == 4
    assert dataset_fingerprint(one) == dataset_fingerprint(one.take([3, 1, 0, 2]))
