"""The demo with one epoch on few, small images, which takes about a minute."""

import json
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from cxr_ray.phantoms.demo import s3_server

REPOSITORY = Path(__file__).parents[2]


@pytest.mark.s3
def test_the_server_leaves_the_environment_as_it_was(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "mine")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with s3_server() as endpoint:
        assert os.environ["AWS_ENDPOINT_URL"] == endpoint
        assert endpoint.startswith("http://127.0.0.1:")
    assert "AWS_ENDPOINT_URL" not in os.environ
    assert os.environ["AWS_ACCESS_KEY_ID"] == "mine"


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.s3
def test_the_demo_ends_with_a_report(tmp_path):
    line = [sys.executable, str(REPOSITORY / "jobs/demo.py"), "--output", str(tmp_path / "out")]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    demo = subprocess.run(
        [
            *line,
            "--images-per-class",
            "25",
            "--epochs",
            "1",
            "--image-size",
            "32",
            "--segmenter-epochs",
            "2",
            "--no-by-text",
        ],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert demo.returncode == 0, demo.stderr
    report = Path(demo.stdout.strip().splitlines()[-1])
    assert report == tmp_path / "out/report/report.html"
    assert "<html" in report.read_text()
    rows = f"'{tmp_path}/out/scored/predictions/*.parquet'"
    counts = dict(duckdb.sql(f"SELECT status, count(*) FROM {rows} GROUP BY 1").fetchall())
    assert counts == {"ok": 100, "error": 5}
    assert json.loads((tmp_path / "out/lung_report/metrics.json").read_text())["dsc"]["mean"] > 0.5
    assert json.loads((tmp_path / "out/segmented/run.json").read_text())["counts"]["error"] == 5
    assert json.loads((tmp_path / "out/run.json").read_text())["config"]["images_per_class"] == 25
    assert json.loads((tmp_path / "out/scored/run.json").read_text())["counts"]["ok"] == 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--archive", "nowhere"], "no folder at nowhere; name the folder"),
        (["--output", "precious.txt"], "precious.txt is a file; choose another --output"),
        (["--output", "."], "holds files that no demo made; choose another --output"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_deleted(tmp_path, flags, message):
    (tmp_path / "precious.txt").write_text("keep me")
    line = [sys.executable, str(REPOSITORY / "jobs/demo.py"), *flags]
    demo = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert demo.returncode == 1
    assert message in demo.stderr
    assert (tmp_path / "precious.txt").exists()


@pytest.mark.cluster
def test_a_failing_step_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    line = [sys.executable, str(REPOSITORY / "jobs/demo.py"), "--archive", str(tmp_path / "empty")]
    demo = subprocess.run(
        [*line, "--output", str(tmp_path / "out")], capture_output=True, text=True, check=False, timeout=60
    )
    assert demo.returncode == 1
    assert "empty is empty" in demo.stderr
    assert demo.stderr.strip().splitlines()[-1].startswith("error: index_archive ended with exit code 1")
