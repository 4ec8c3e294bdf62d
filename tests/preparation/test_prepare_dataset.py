"""The dataset job on a real Ray cluster, on drawn archives."""

import pyarrow.compute as pc
import pytest

from cxr_ray.archive.datasets import dataset_fingerprint, read_dataset
from cxr_ray.config import PrepareConfig
from cxr_ray.errors import DatasetError
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.preparation.prepare_dataset import prepare_dataset

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


def prepare(input_uri, output_uri, **options):
    prepare_dataset(PrepareConfig(input_uri=str(input_uri), output_uri=str(output_uri), **options))
    return read_dataset(str(output_uri))


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    return write_phantom_archive(str(tmp_path_factory.mktemp("archive")), images_per_class=20, size=96)


def test_a_drawn_archive_becomes_a_dataset(ray_cluster, archive, tmp_path, capsys):
    table = prepare(archive.uri, tmp_path / "dataset.parquet")
    labels = dict(zip(table["image_id"].to_pylist(), table["label"].to_pylist(), strict=True))
    assert labels == {name: label.replace(" ", "_") for name, label in archive.labels.items()}
    assert table["mask_uri"].null_count == 0
    assert table["patient_id"].null_count == 0
    for column in ("patient_id", "duplicate_group"):
        splits_per_group = table.group_by(column).aggregate([("split", "count_distinct")])
        assert set(splits_per_group["split_count_distinct"].to_pylist()) == {1}
    fractions = {row["values"]: row["counts"] / table.num_rows for row in pc.value_counts(table["split"]).to_pylist()}
    assert fractions == pytest.approx({"train": 0.7, "val": 0.2, "test": 0.1}, abs=0.06)
    copies = [name for name in labels if "copy" in name or "brighter" in name]
    groups = dict(zip(table["image_id"].to_pylist(), table["duplicate_group"].to_pylist(), strict=True))
    sizes = table["duplicate_group"].value_counts().to_pylist()
    size_of = {row["values"]: row["counts"] for row in sizes}
    assert copies
    assert all(size_of[groups[name]] >= 2 for name in copies)
    assert sum(size_of.values()) - len(size_of) == len(copies), "different images do not count as copies"
    assert "Viral_Pneumonia" in capsys.readouterr().out


def test_the_dataset_does_not_depend_on_where_it_lies(ray_cluster, archive, tmp_path):
    again = write_phantom_archive(str(tmp_path / "elsewhere #2"), images_per_class=20, size=96)
    first, second = prepare(archive.uri, tmp_path / "1.parquet"), prepare(again.uri, tmp_path / "2.parquet")
    assert dataset_fingerprint(first) == dataset_fingerprint(second)
    other_seed = prepare(archive.uri, tmp_path / "3.parquet", seed=1)
    assert dataset_fingerprint(first) != dataset_fingerprint(other_seed)


def test_a_folder_without_the_layout_is_refused(ray_cluster, tmp_path):
    (tmp_path / "scan.png").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"no image found; expected CLASS/images"):
        prepare(tmp_path, tmp_path / "dataset.parquet")


def test_an_unreadable_archive_is_refused(ray_cluster, tmp_path):
    (tmp_path / "in/COVID/images").mkdir(parents=True)
    (tmp_path / "in/COVID/images/a.png").write_bytes(b"no image")
    with pytest.raises(DatasetError, match="none of the 1 images is readable"):
        prepare(tmp_path / "in", tmp_path / "dataset.parquet")


@pytest.mark.realdata
def test_real_radiographs(ray_cluster, shared_data, tmp_path):
    table = prepare(shared_data / "radiography", tmp_path / "dataset.parquet")
    counts = {row["values"]: row["counts"] for row in pc.value_counts(table["split"]).to_pylist()}
    assert counts == pytest.approx({"train": 1821, "val": 520, "test": 260}, abs=10)
    assert table.num_rows == 2601
    exact = table.num_rows - len(set(table["content_sha256"].to_pylist()))
    assert exact == 5
