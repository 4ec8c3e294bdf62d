"""A sample holds images of every kind, and each image of a kind has the same chance."""

from collections import Counter

import pyarrow as pa
import pytest

from cxr_ray.archive.tables import write_table
from cxr_ray.benchmarks.archive_sample import FEWEST, sample_archive
from cxr_ray.errors import StorageError


@pytest.fixture
def manifest(tmp_path):
    def write(rows, **columns):
        ids = [f"{i:05d}{suffix}" for i, suffix in enumerate(rows)]
        uri = str(tmp_path / "manifest.parquet")
        write_table(pa.table({"image_id": ids, "uri": [f"/in/{name}" for name in ids]} | columns), uri)
        return uri

    return write


def test_every_kind_is_sampled_and_counted(manifest):
    formats = ["png"] * 9_000 + ["dicom"] * 990 + ["jpeg"] * 10
    sizes = [20_000] * 8_000 + [100_000] * 1_000 + [10_000_000] * 990 + [None] * 10
    uri = manifest([""] * 10_000, format=formats, size_bytes=pa.array(sizes, pa.int64()))
    strata = sample_archive(uri, 200, seed=0)
    assert [(s.format, s.size, s.images, s.sample.num_rows) for s in strata] == [
        ("png", "16-64 KiB", 8_000, 160),
        ("png", "64-256 KiB", 1_000, 20),
        ("dicom", "4-16 MiB", 990, 20),
        ("jpeg", "size unknown", 10, 10),
    ]
    for stratum in strata:
        assert len(set(stratum.sample["image_id"].to_pylist())) == stratum.sample.num_rows


def test_the_names_tell_the_format_where_the_manifest_does_not(manifest):
    uri = manifest([".png"] * 30 + [".JPG"] * 20 + [".dcm"] * 10 + [""] * 5)
    kinds = {(s.format, s.size): s.images for s in sample_archive(uri, 16, seed=0)}
    unknown = "size unknown"
    assert kinds == {("png", unknown): 30, ("jpeg", unknown): 20, ("dicom", unknown): 10, ("unknown", unknown): 5}


def test_images_at_the_beginning_and_at_the_end_have_the_same_chance(manifest):
    uri = manifest([".png"] * 100)
    drawn = Counter(
        name for seed in range(200) for name in sample_archive(uri, FEWEST, seed)[0].sample["image_id"].to_pylist()
    )
    assert len(drawn) == 100
    first_half = sum(count for name, count in drawn.items() if name < "00050")
    assert first_half == pytest.approx(200 * FEWEST / 2, rel=0.1)


def test_a_seed_gives_its_sample_again(manifest):
    uri = manifest([".png"] * 100)
    first, again, other = (sample_archive(uri, 20, seed)[0].sample for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first.equals(other)


def test_a_manifest_without_rows_or_columns_is_refused(manifest, tmp_path):
    with pytest.raises(StorageError, match="has no rows; make one with"):
        sample_archive(manifest([]), 20, seed=0)
    write_table(pa.table({"image_id": ["a"]}), str(tmp_path / "m.parquet"))
    with pytest.raises(StorageError, match="has no column uri; make one with"):
        sample_archive(str(tmp_path / "m.parquet"), 20, seed=0)
