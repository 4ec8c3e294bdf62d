"""Tests of what becomes of a job and its flags on their way to a cluster."""

from pathlib import Path

import pytest

from cxr_ray.cluster.job_command import NOT_FOR_A_CLUSTER, job_command
from cxr_ray.errors import ConfigError

ROOT = Path(__file__).parents[2]
FLAGS = ["--input-uri", "s3://a/in", "--model-uri", "s3://a/model", "--output-uri", "s3://a/out"]


def classify(*more):
    return job_command(ROOT, "classify_archive", [*FLAGS, *more])


def test_the_same_work_has_one_name_however_it_is_typed(tmp_path):
    recipe = tmp_path / "two words.toml"
    recipe.write_text('input_uri = "s3://a/in"\n')
    typed = [
        job_command(ROOT, "jobs/classify_archive.py", FLAGS),
        job_command(ROOT, "classify_archive.py", [*FLAGS[2:], "--input-uri=s3://a/in", "--batch-size", "None"]),
        classify("--debug"),
        job_command(ROOT, "classify_archive", [*FLAGS[2:], "--config", str(recipe)]),
    ]
    assert {command.submission for command in typed} == {classify().submission}
    assert classify().submission.startswith("classify_archive-")
    assert classify("--batch-size", "3").submission != classify().submission
    recipe.write_text('input_uri = "s3://a/other"\n')
    changed = job_command(ROOT, "classify_archive", [*FLAGS[2:], "--config", str(recipe)])
    assert changed.submission != typed[3].submission
    assert changed.entrypoint == typed[3].entrypoint


def test_recipes_travel_from_anywhere(tmp_path, monkeypatch):
    outside = tmp_path / "mine; echo.toml"
    outside.write_text("batch_size = 3\n")
    monkeypatch.chdir(ROOT / "jobs")
    arguments = ["--dataset-uri", "s3://a/d", "--output-uri", "s3://a/o", "--config", "recipes/seed_vit_b16.toml"]
    command = job_command(ROOT, "train_classifier", [*arguments, f"--config={outside}"])
    inside = "jobs/recipes/seed_vit_b16.toml"
    assert {place: file.resolve() for place, file in command.recipes.items()} == {
        inside: ROOT / inside,
        "submitted_recipes/1_mine; echo.toml": outside,
    }
    assert command.entrypoint == (
        f"python jobs/train_classifier.py --config {inside} --config 'submitted_recipes/1_mine; echo.toml' "
        "--dataset-uri s3://a/d --output-uri s3://a/o"
    )


@pytest.mark.parametrize(
    "flags",
    [
        ["--input-uri", "s3://key:hush@a/in"],
        ["--input-uri", "https://a/in?X-Amz-Signature=hush"],
        ["--exclude", "s3://key:hush@a/in"],
    ],
)
def test_secrets_are_refused_and_not_repeated(flags):
    with pytest.raises(ConfigError, match="holds a user name, a password or a signature") as refused:
        classify(*flags)
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize(("flag", "path"), [("--output-uri", "runs/x"), ("--model-uri", "~/model")])
def test_paths_of_this_machine_are_refused(flag, path):
    with pytest.raises(ConfigError, match=f"{flag[2:].replace('-', '_')} '{path}' is a path of this machine"):
        classify(flag, path)


def test_folders_of_every_node_are_taken():
    assert "/mnt/models" in classify("--model-uri", "/mnt/models", "file:///mnt/model").entrypoint


@pytest.mark.parametrize("name", NOT_FOR_A_CLUSTER)
def test_what_works_on_this_machine_is_not_submitted(name):
    with pytest.raises(ConfigError, match=f"{name} works on this machine"):
        job_command(ROOT, name, [])


def test_an_unknown_job_is_one_line():
    with pytest.raises(ConfigError, match=r"no job is named 'clasify_archive'; did you mean 'classify_archive'\?"):
        job_command(ROOT, "clasify_archive", [])
    with pytest.raises(ConfigError, match="no job is named 'xyz'; the jobs for a cluster are audit_classifier, "):
        job_command(ROOT, "xyz", [])


def test_wrong_flags_end_with_code_2_and_the_name_of_the_job(capsys):
    with pytest.raises(SystemExit) as ended:
        classify("--batch-siez", "3")
    assert ended.value.code == 2
    assert "jobs/classify_archive.py --help" in capsys.readouterr().err


def test_every_job_but_those_of_this_machine_can_be_submitted(capsys):
    jobs = {path.stem for path in (ROOT / "jobs").glob("*.py")} - set(NOT_FOR_A_CLUSTER)
    for job in jobs:
        with pytest.raises(SystemExit) as ended:
            job_command(ROOT, job, ["--help"])
        assert ended.value.code == 0
        assert f"jobs/{job}.py" in capsys.readouterr().out
