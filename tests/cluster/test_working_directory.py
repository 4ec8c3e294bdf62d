"""Tests of what travels with a job: the code and the recipes, and never data, results or secrets."""

import shutil
from pathlib import Path

import pytest

from cxr_ray.cluster.working_directory import check_size, digest, travelling_files, working_directory
from cxr_ray.errors import ConfigError

ROOT = Path(__file__).parents[2]
STAYS = [
    *("runs/model/model.safetensors", "demo-output/report.html", "data/a.png", "x", "a/b.dcm", ".git/config", ".env"),
    *(".venv/lib/x.py", "venv/x.py", "tests/test_x.py", "cxr_ray/__pycache__/x.pyc", "jobs/README.md", "archive.zip"),
]
TRAVELS = ["cxr_ray/__init__.py", "cxr_ray/config/a.py", "cxr_ray/page.html.j2", "jobs/a.py", "jobs/recipes/a.toml"]


def test_code_and_recipes_travel_and_nothing_else(tmp_path):
    for name in (".gitignore", ".rayignore"):
        shutil.copy(ROOT / name, tmp_path)
    for name in STAYS + TRAVELS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    assert list(travelling_files(tmp_path)) == TRAVELS


def test_this_repository_is_small():
    files = travelling_files(ROOT)
    assert {"jobs/submit.py", "cxr_ray/cluster/submit_job.py", "jobs/recipes/seed_vit_b16.toml"} < files.keys()
    assert {place.partition("/")[0] for place in files} == {"jobs", "cxr_ray"}
    assert sum(file.stat().st_size for file in files.values()) < 5_000_000


def test_too_much_is_refused_with_the_three_largest(tmp_path):
    files = {}
    for name, megabytes in {"a.bin": 1, "b.bin": 30, "c.bin": 2, "d.bin": 18}.items():
        files[f"jobs/{name}"] = tmp_path / name
        with files[f"jobs/{name}"].open("wb") as file:
            file.truncate(megabytes * 1_000_000)
    largest = r"jobs/b.bin \(30.0 MB\), jobs/d.bin \(18.0 MB\), jobs/c.bin \(2.0 MB\); move them away"
    with pytest.raises(ConfigError, match=f"has 51 MB, and at most 50 MB travel with a job; .* {largest}"):
        check_size(files)
    del files["jobs/a.bin"]
    check_size(files)


def test_the_copy_holds_the_files_and_goes(tmp_path):
    recipe = tmp_path / "mine.toml"
    recipe.write_text("batch_size = 3\n")
    with working_directory({"submitted_recipes/0_mine.toml": recipe}) as folder:
        assert (folder / "submitted_recipes/0_mine.toml").read_text() == "batch_size = 3\n"
    assert not folder.exists()


def test_the_digest_is_of_names_and_content(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    first = digest({"x": tmp_path / "a"})
    assert first == digest({"x": tmp_path / "b"}) != digest({"y": tmp_path / "a"})
    (tmp_path / "b").write_text("other")
    assert digest({"x": tmp_path / "b"}) != first
