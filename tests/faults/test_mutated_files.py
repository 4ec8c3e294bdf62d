"""Damaged files of every kind, a hundred of them through a whole job: one row each."""

import pytest

from cxr_ray.archive.tables import read_table
from cxr_ray.config import ClassifyConfig
from cxr_ray.imaging.limits import ErrorKind
from cxr_ray.scoring.classify_archive import classify_archive
from tests.faults.mutated_files import LIMITS, decode_all, mutants


def test_damaged_files_are_decoded_or_refused_within_their_time():
    outcomes, slowest = decode_all(mutants(200, seed=1))
    assert outcomes.total() == 200
    assert slowest < LIMITS.max_seconds
    assert outcomes[None]
    assert outcomes["truncated"]


@pytest.mark.slow
@pytest.mark.cluster
def test_a_job_over_damaged_files_gives_one_row_each(ray_cluster, save_random, tmp_path):
    files = mutants(100, seed=2)
    (tmp_path / "in").mkdir()
    for number, data in enumerate(files.values()):
        (tmp_path / "in" / f"{number:03}").write_bytes(data)
    save_random(tmp_path / "model")
    config = ClassifyConfig(
        input_uri=f"{tmp_path}/in", model_uri=(f"{tmp_path}/model",), output_uri=f"{tmp_path}/out", max_error_rate=1.0
    )
    counts = classify_archive(config)
    rows = read_table(f"{tmp_path}/out/predictions").to_pylist()
    names = {row["image_id"] for row in rows}
    assert len(rows) == len(names) == counts["ok"] + counts["error"]
    assert names >= {
        f"{n:03}" for n, data in enumerate(files.values()) if data[:4] in (b"\x89PNG", b"\xff\xd8\xff\xe0")
    }
    assert {row["error_kind"] for row in rows} - {None} <= set(ErrorKind)
    assert all((row["error"] is None) == (row["status"] == "ok") for row in rows)
