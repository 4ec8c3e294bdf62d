from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.auditing.leakage_check import check_leakage, in_other_splits
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.errors import DatasetError
from cxr_ray.phantoms.phantom import draw_phantom
from cxr_ray.schema import DATASET

CONFIG = AuditConfig(model_uri="m", dataset_uri="d", output_uri="o")


@pytest.fixture
def dataset(tmp_path):
    """Builds a table of 12 phantoms, six of the test split, whose first image may be replaced."""

    def build(first: np.ndarray | None = None, suffix: str = "png", patients: tuple[str | None, ...] = ()) -> pa.Table:
        rows = []
        for number in range(12):
            pixels = draw_phantom("Normal", seed=number, size=96).pixels
            if number == 0 and first is not None:
                pixels = first
            path = tmp_path / f"{number}.{suffix if number == 0 else 'png'}"
            Image.fromarray(pixels).save(path)
            patient = patients[number] if patients else None
            split = "test" if number < 6 else "train"
            rows.append({"image_id": path.name, "uri": str(path), "split": split, "patient_id": patient})
        return pa.Table.from_pylist(rows, schema=DATASET)

    return build


def of_copies(table, **changes):
    return check_leakage(table, replace(CONFIG, **changes))[0]


def test_different_phantoms_do_not_leak(dataset):
    copies, patients = check_leakage(dataset(), CONFIG)
    assert (copies.verdict, copies.value) == ("pass", 0.0)
    assert (patients.verdict, patients.value) == ("not measured", None)


def test_a_brightened_jpeg_of_a_train_image_is_a_leak(dataset):
    copy = np.clip(draw_phantom("Normal", seed=8, size=96).pixels * 1.1, 0, 255).astype(np.uint8)
    found = of_copies(dataset(copy, "jpg"))
    assert found.verdict == "fail"
    assert found.value == pytest.approx(1 / 6)
    assert found.detail == "1 of 6 images, 2 in all splits; 12 images hashed"
    assert of_copies(dataset(copy, "jpg"), split="all").value == pytest.approx(2 / 12)


def test_a_copy_within_a_split_is_no_leak(dataset):
    assert of_copies(dataset(draw_phantom("Normal", seed=3, size=96).pixels)).verdict == "pass"


def test_columns_alone_count_in_a_large_dataset(dataset):
    table = dataset(draw_phantom("Normal", seed=8, size=96).pixels)
    assert of_copies(table, max_hashed_images=11).verdict == "pass", "nothing was hashed"
    place = table.column_names.index("duplicate_group")
    groups = pa.array(["g", *[None] * 7, "g", *[None] * 3], pa.string())
    found = of_copies(table.set_column(place, "duplicate_group", groups), max_hashed_images=11)
    assert (found.verdict, found.value) == ("fail", pytest.approx(1 / 6))


def test_a_patient_in_two_splits_is_a_leak(dataset):
    names = ("a", "a", None, "c", None, "d", "e", "c", None, "f", "f", None)
    patients = check_leakage(dataset(patients=names), CONFIG)[1]
    assert (patients.verdict, patients.value) == ("fail", pytest.approx(1 / 4))
    assert patients.detail == "1 of 4 images, 2 in all splits; 2 of 6 images name no patient"


def test_an_image_that_is_gone_is_named(dataset, tmp_path):
    table = dataset()
    (tmp_path / "3.png").unlink()
    with pytest.raises(DatasetError, match=r"3\.png cannot be read: not_found"):
        check_leakage(table, CONFIG)


def test_none_is_no_group():
    splits = np.array(["train", "test", "test", "train"])
    assert in_other_splits([None, None, 1, 1], splits).tolist() == [False, False, True, True]
    assert in_other_splits([1, 2, 2, 1], splits).tolist() == [False] * 4
