"""Objects that are deleted or replaced after the manifest was written are right rows, and no failure of the job."""

import hashlib

import pytest

from cxr_ray.archive.manifest import index_archive
from cxr_ray.archive.uris import open_filesystem, read_bytes, write_bytes
from cxr_ray.config import ClassifyConfig, IndexConfig
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.scoring.classify_archive import classify_archive
from tests.faults.commands import rows_at

pytestmark = [pytest.mark.cluster, pytest.mark.s3, pytest.mark.slow]


def test_an_object_that_was_deleted_or_replaced_has_the_row_of_what_was_read(
    ray_cluster, bucket_uri, save_random, tmp_path
):
    save_random(tmp_path / "bundle")
    archive = write_phantom_archive(f"{bucket_uri}/in", images_per_class=3, size=64, broken=0)
    gone, replaced, shorter, other = sorted(archive.labels)[:4]
    index_archive(
        IndexConfig(input_uri=archive.uri, output_uri=f"{bucket_uri}/manifest.parquet", exclude=("*/masks/*",))
    )
    fs, bucket = open_filesystem(bucket_uri)
    fs.rm_file(f"{bucket}/in/{gone}")
    content = read_bytes(f"{archive.uri}/{other}")
    write_bytes(f"{archive.uri}/{replaced}", content)
    write_bytes(f"{archive.uri}/{shorter}", content[:100])
    classify_archive(
        ClassifyConfig(
            input_uri=f"{bucket_uri}/manifest.parquet",
            model_uri=(str(tmp_path / "bundle"),),
            output_uri=f"{bucket_uri}/out",
            max_error_rate=1.0,
        )
    )
    rows = {row["image_id"]: row for row in rows_at(f"{bucket_uri}/out").to_pylist()}
    assert rows.keys() == archive.labels.keys()
    assert (rows[gone]["status"], rows[gone]["error_kind"], rows[gone]["content_sha256"]) == (
        "error",
        "not_found",
        None,
    )
    assert rows[replaced]["status"] == "ok"
    assert rows[replaced]["content_sha256"] == hashlib.sha256(content).hexdigest() == rows[other]["content_sha256"]
    assert rows[replaced]["label"] == rows[other]["label"]
    assert (rows[shorter]["status"], rows[shorter]["content_sha256"]) == (
        "error",
        hashlib.sha256(content[:100]).hexdigest(),
    )
