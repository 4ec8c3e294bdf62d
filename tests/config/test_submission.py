"""Tests of the options of submit.py, and of where those of the submitted job begin."""

import pytest

from cxr_ray.config import load_config
from cxr_ray.config.submission import SubmitConfig, with_job_first
from cxr_ray.errors import ConfigError

JOBS = ["index_archive", "classify_archive", "submit"]


@pytest.mark.parametrize("job", ["index_archive", "index_archive.py", "jobs/index_archive.py", "indx_archive"])
@pytest.mark.parametrize("apart", [[], ["--"]])
def test_what_follows_the_job_is_left_to_it(job, apart):
    options = ["--wait-for-nodes", "3", "--require-env", "A", "B"]
    flags = ["--input-uri", "s3://a", "--debug", "--config", "recipe.toml", "--help"]
    config = load_config(SubmitConfig, with_job_first([*options, *apart, job, *flags], JOBS))
    assert (config.job, config.arguments) == (job, tuple(flags))
    assert (config.wait_for_nodes, config.require_env, config.debug) == (3, ("A", "B"), False)


def test_a_recipe_before_the_job_is_of_the_submission(tmp_path):
    (tmp_path / "cluster.toml").write_text('require_env = ["AWS_ACCESS_KEY_ID"]\n')
    argv = with_job_first(["--config", f"{tmp_path}/cluster.toml", "classify_archive", "--config", "other.toml"], JOBS)
    config = load_config(SubmitConfig, argv)
    assert config.require_env == ("AWS_ACCESS_KEY_ID",)
    assert config.arguments == ("--config", "other.toml")


def test_arguments_without_a_job_stay_as_they_are():
    assert with_job_first(["--wait-for-nodes", "3"], JOBS) == ["--wait-for-nodes", "3"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wait_for_nodes": -1}, "wait_for_nodes must be >= 0; got -1"),
        ({"wait_minutes": 0.0}, "wait_minutes must be > 0; got 0.0"),
        ({"require_env": ("A=hush",)}, "^require_env must be names of variables, without values, such as"),
    ],
)
def test_bad_values_are_refused(options, message):
    with pytest.raises(ConfigError, match=message) as refused:
        SubmitConfig(job="index_archive", **options)
    assert "hush" not in str(refused.value)
