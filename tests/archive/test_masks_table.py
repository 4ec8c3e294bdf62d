import pyarrow as pa
import pytest

from cxr_ray.archive.masks_table import OPTIONAL_FIELDS, read_masks
from cxr_ray.archive.tables import write_table
from cxr_ray.errors import DatasetError, StorageError
from cxr_ray.schema import DATASET

IMAGES = pa.Table.from_pylist(
    [{"image_id": name, "uri": name, "content_sha256": f"sha-{name}"} for name in ("a", "b")], schema=DATASET
)


def row(image_id, status="ok", **columns):
    mask = {"mask_height": 4, "mask_width": 4, "mask_counts": "04L"} if status == "ok" else {}
    nothing = {"error_kind": None, "mask_height": None, "mask_width": None, "mask_counts": None}
    return {"image_id": image_id, "status": status} | nothing | mask | columns


def written(uri, rows):
    write_table(pa.Table.from_pylist(rows), f"{uri}/0.parquet")
    return str(uri)


def test_only_the_images_that_are_asked_for_come_back(tmp_path):
    table = read_masks(written(tmp_path, [row("a"), row("c")]), IMAGES)
    assert table["image_id"].to_pylist() == ["a"]
    assert table["uncertainty"].to_pylist() == [None], "masks of other tools may not say how sure they are"
    assert set(OPTIONAL_FIELDS.names) < set(table.column_names)


def test_the_output_of_a_job_is_found_by_its_folder(tmp_path):
    written(tmp_path / "masks", [row("b")])
    assert read_masks(str(tmp_path), IMAGES)["image_id"].to_pylist() == ["b"]


def test_the_masks_of_the_cascade_have_their_own_status_and_model(tmp_path):
    rows = [
        row("a", model_id="classifier", mask_status="ok", mask_model_id="segmenter"),
        row("b", status="error", error_kind="truncated", model_id="classifier", mask_status=None, mask_model_id=None),
    ]
    written(tmp_path / "scores", rows)
    table = read_masks(str(tmp_path), IMAGES)
    assert table["status"].to_pylist() == ["ok", "error"]
    assert table["model_id"].to_pylist() == ["segmenter", None]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row("a"), row("a")], "image_id 'a' occurs 2 times in .*; segment into an empty output"),
        (
            [row("a", mask_counts=None)],
            "1 rows of masks have status ok but no mask, first 'a'; segment these images again",
        ),
        ([row("a", content_sha256="other")], "segmented other files than 1 of the dataset's images, first 'a'"),
    ],
)
def test_masks_that_cannot_be_meant_are_refused(tmp_path, rows, message):
    with pytest.raises(DatasetError, match=message):
        read_masks(written(tmp_path, rows), IMAGES)


def test_a_table_without_masks_is_refused(tmp_path):
    with pytest.raises(StorageError, match="has no column mask_counts, mask_height, mask_width"):
        read_masks(written(tmp_path, [{"image_id": "a", "status": "ok", "error_kind": None}]), IMAGES)
