import json

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cxr_ray.archive.reconcile import NAMED, described, reconcile, reconcile_archive, rows_uri_of
from cxr_ray.archive.tables import write_table
from cxr_ray.config import ReconcileConfig
from cxr_ray.errors import LossError, StorageError


def write_manifest(folder, ids):
    uri = f"{folder}/manifest.parquet"
    write_table(pa.table({"image_id": pa.array(ids, pa.string()), "uri": [f"s3://x/{i}" for i in ids]}), uri)
    return uri


def write_rows(folder, name, ids, *, error_kind=None, run="r1", model="m", **others):
    columns = {
        "image_id": pa.array(ids, pa.string()),
        "status": pa.array(["error" if error_kind else "ok"] * len(ids), pa.string()),
        "error_kind": pa.array([error_kind] * len(ids), pa.string()),
        "model_id": pa.array([model] * len(ids), pa.string()),
        "preprocessing_id": pa.array(["p"] * len(ids), pa.string()),
        "run_id": pa.array([run] * len(ids), pa.string()),
    }
    write_table(pa.table(columns | others), f"{folder}/out/predictions/{name}.parquet")


def checked(folder, **options):
    config = ReconcileConfig(manifest_uri=f"{folder}/manifest.parquet", predictions_uri=f"{folder}/out", **options)
    return reconcile_archive(config)


def test_an_output_with_one_row_of_each_image_is_complete(tmp_path, capsys):
    write_manifest(tmp_path, ["a", "b", "c"])
    write_rows(tmp_path, "one", ["a"])
    write_rows(tmp_path, "two", ["c"], run="r2")
    write_rows(tmp_path, "three", ["b"], run="r2", error_kind="truncated")
    account = checked(tmp_path, output_uri=str(tmp_path / "account.json"))
    assert (account.statuses, account.errors) == ({"ok": 2, "error": 1}, {"truncated": 1})
    assert (account.runs, account.made_with) == ({"r1": 1, "r2": 2}, {"m, p": 3})
    assert capsys.readouterr().out.splitlines()[0] == "complete: 3 images in the manifest, 3 rows"
    stored = json.loads((tmp_path / "account.json").read_text())
    assert (stored["rows"], stored["missing"]) == (3, {"count": 0, "first": []})


def test_what_is_missing_and_what_is_double_is_named_and_the_job_fails(tmp_path, capsys):
    write_manifest(tmp_path, [f"{i:02}" for i in range(20)])
    write_rows(tmp_path, "one", ["00", "01", "gone"])
    write_rows(tmp_path, "two", ["01"])
    with pytest.raises(LossError, match="does not hold one row of one kind for each image"):
        checked(tmp_path, output_uri=str(tmp_path / "account.json"))
    account = json.loads((tmp_path / "account.json").read_text())
    assert account["double"] == {"count": 1, "first": ["01"]}
    assert account["foreign"] == {"count": 1, "first": ["gone"]}
    assert (account["missing"]["count"], len(account["missing"]["first"])) == (18, NAMED)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "LOSS: 20 images in the manifest, 4 rows"
    assert "           1 images have several rows: 01" in lines
    assert lines[1].startswith("          18 images have no row: ")
    assert lines[1].endswith(", ...")


def test_rows_of_other_work_or_other_columns_are_a_loss(tmp_path):
    write_manifest(tmp_path, ["a", "b"])
    write_rows(tmp_path, "one", ["a"])
    write_rows(tmp_path, "two", ["b"], model="other")
    with pytest.raises(LossError):
        checked(tmp_path)
    write_rows(tmp_path, "two", ["b"], extra=[1.0])
    account = reconcile(f"{tmp_path}/manifest.parquet", f"{tmp_path}/out/predictions")
    assert (account.other_columns, account.has_loss) == (["two.parquet"], True)
    assert "two.parquet has other columns than the first file" in described(account)


def test_rows_of_other_files_are_a_loss_where_both_tables_know_the_content(tmp_path, capsys):
    ids = ["a", "b", "c", "d"]
    write_table(
        pa.table({"image_id": ids, "uri": ids, "content_sha256": ["1", "2", None, "4"]}), f"{tmp_path}/manifest.parquet"
    )
    write_rows(tmp_path, "one", ["a", "c"], content_sha256=["1", "x"])
    write_rows(tmp_path, "two", ["b"], content_sha256=["x"])
    write_rows(tmp_path, "three", ["d"], content_sha256=["cut"], error_kind="truncated")
    with pytest.raises(LossError):
        checked(tmp_path, output_uri=str(tmp_path / "account.json"))
    assert json.loads((tmp_path / "account.json").read_text())["other_content"] == {"count": 1, "first": ["b"]}
    lines = capsys.readouterr().out.splitlines()
    assert "           1 images have rows of other files, because content_sha256 differs: b" in lines
    write_rows(tmp_path, "two", ["b"], content_sha256=["2"])
    assert not checked(tmp_path).has_loss


def test_a_manifest_that_names_an_image_twice_is_a_loss(tmp_path):
    write_manifest(tmp_path, ["a", "a"])
    write_rows(tmp_path, "one", ["a"])
    account = reconcile(f"{tmp_path}/manifest.parquet", f"{tmp_path}/out/predictions")
    assert (account.named_twice.count, account.has_loss) == (1, True)


def test_rows_that_say_nothing_of_themselves_are_counted(tmp_path):
    write_manifest(tmp_path, ["a"])
    write_table(pa.table({"image_id": ["a"]}), f"{tmp_path}/rows.parquet")
    account = reconcile(f"{tmp_path}/manifest.parquet", f"{tmp_path}/rows.parquet")
    assert (account.rows, account.statuses, account.has_loss) == (1, {}, False)


def test_the_rows_of_an_output_folder_are_found(tmp_path):
    write_rows(tmp_path, "one", ["a"])
    assert rows_uri_of(f"{tmp_path}/out") == f"{tmp_path}/out/predictions"
    assert rows_uri_of(f"{tmp_path}/out/predictions") == f"{tmp_path}/out/predictions"
    with pytest.raises(StorageError, match="no table at"):
        reconcile(f"{tmp_path}/out/predictions", rows_uri_of(f"{tmp_path}/empty"))


@settings(max_examples=40, deadline=None)
@example(images=[], blocks=[[], [0]])
@given(
    images=st.lists(st.integers(0, 30), max_size=30, unique=True),
    blocks=st.lists(st.lists(st.integers(0, 33), max_size=12), min_size=1, max_size=4),
)
def test_nothing_is_lost_and_nothing_doubled_unless_it_is_said(tmp_path_factory, images, blocks):
    folder = tmp_path_factory.mktemp("account")
    write_manifest(folder, [str(i) for i in images])
    for number, block in enumerate(blocks):
        write_rows(folder, str(number), [str(i) for i in block])
    account = reconcile(f"{folder}/manifest.parquet", f"{folder}/out/predictions")
    found = [i for block in blocks for i in block]
    assert account.missing.count == len(set(images) - set(found))
    assert account.double.count == len({i for i in found if found.count(i) > 1})
    assert account.foreign.count == len(set(found) - set(images))
    assert account.rows == len(found)
    assert account.has_loss == (not account.missing.count == account.double.count == 0)
