from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from cxr_ray.archive.tables import write_table
from cxr_ray.errors import ResumeError
from cxr_ray.scoring.output.claim import JobSignature, check_claim, claim_output, remove_output
from cxr_ray.scoring.output.state import OutputState, finished_ids

JOB = JobSignature(
    input_uri="s3://archive", model="resnet50-aaaaaaaaaaaa", preprocessing="111111111111", precision="auto", exclude=""
)


@pytest.fixture
def state(tmp_path):
    return OutputState(str(tmp_path / "out"), "predictions")


def write_block(state, *ids, is_committed=True):
    table = pa.table({"image_id": list(ids)})
    write_table(table, f"{state.rows_uri}/block_000000-0.parquet")
    if is_committed:
        write_table(table, f"{state.marks_uri}/block_000000.parquet")


def test_a_free_output_is_claimed_and_the_same_job_continues(state):
    check_claim(state, JOB)
    assert not Path(state.uri).exists(), "to check is not to write"
    claim_output(state, JOB, overwrite=False)
    write_block(state, "a")
    claim_output(state, JOB, overwrite=False)
    assert finished_ids(state).to_pylist() == ["a"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "vit_b16-bbbbbbbbbbbb"),
        ("preprocessing", "222222222222"),
        ("input_uri", "s3://elsewhere"),
        ("precision", "fp32"),
        ("exclude", "'*/masks/*'"),
    ],
)
def test_another_job_is_refused_and_both_are_named(state, field, value):
    claim_output(state, JOB, overwrite=False)
    write_block(state, "a")
    for ours, theirs in ((JOB, replace(JOB, **{field: value})), (replace(JOB, **{field: value}), JOB)):
        claim_output(state, ours, overwrite=True)
        write_block(state, "a")
        with pytest.raises(ResumeError) as caught:
            claim_output(state, theirs, overwrite=False)
        held, given = getattr(ours, field) or "none", getattr(theirs, field) or "none"
        expected = f"holds rows of {field} {held}, this command has {field} {given}; choose another --output-uri"
        assert expected in str(caught.value)
        assert finished_ids(state).to_pylist() == ["a"]


@pytest.mark.parametrize("has_uncommitted_rows", [False, True])
def test_a_claim_under_which_no_row_was_committed_binds_nobody(state, has_uncommitted_rows):
    claim_output(state, JOB, overwrite=False)
    if has_uncommitted_rows:
        write_block(state, "a", is_committed=False)
    another = replace(JOB, model="vit_b16-bbbbbbbbbbbb")
    check_claim(state, another)
    claim_output(state, another, overwrite=False)
    write_block(state, "a")
    claim_output(state, another, overwrite=False)
    with pytest.raises(ResumeError, match="holds rows of model vit_b16-bbbbbbbbbbbb"):
        claim_output(state, JOB, overwrite=False)


def test_rows_of_an_unknown_job_are_refused(state):
    write_block(state, "a", is_committed=False)
    with pytest.raises(ResumeError, match="holds rows of an unknown job; choose another --output-uri, or --overwrite"):
        claim_output(state, JOB, overwrite=False)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"model": "m"}', '{"newer": 1}'])
def test_a_signature_that_cannot_be_read_is_refused(state, content):
    write_block(state, "a")
    Path(state.signature_uri).write_text(content)
    with pytest.raises(ResumeError, match=r"job\.json is damaged or of another version; .*--overwrite"):
        claim_output(state, JOB, overwrite=False)
    claim_output(state, JOB, overwrite=True)
    claim_output(state, JOB, overwrite=False)


def test_overwrite_removes_what_the_job_wrote_and_nothing_else(state, tmp_path):
    claim_output(state, JOB, overwrite=False)
    write_block(state, "a")
    listing = "out/_state/predictions/manifest.parquet"
    owner = "out/_state/predictions.owner.json"
    others = ["out/notes.txt", "out/masks/m.parquet", "out/predictions_old/p.parquet", "beside/run.json", owner]
    for name in [*others, listing, "out/run.json", "out/_state/predictions/remaining-x.parquet"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    another = replace(JOB, model="m")
    signature = "out/_state/predictions/job.json"
    claim_output(state, another, overwrite=True, keep=str(tmp_path / listing))
    assert files_under(tmp_path) == {*others, listing, signature}
    claim_output(state, another, overwrite=True, keep="s3://elsewhere/manifest.parquet")
    assert files_under(tmp_path) == {*others, signature}
    claim_output(state, another, overwrite=False)


@pytest.mark.s3
def test_overwrite_in_s3_keeps_what_is_to_be_kept(bucket_uri):
    state = OutputState(f"{bucket_uri}/out #1", "predictions")
    claim_output(state, JOB, overwrite=False)
    write_block(state, "a")
    listing = state.file_uri("manifest.parquet")
    write_table(pa.table({"image_id": ["a"]}), listing)
    claim_output(state, replace(JOB, model="m"), overwrite=True, keep=listing)
    assert finished_ids(state).to_pylist() == []
    claim_output(state, replace(JOB, model="m"), overwrite=False)
    remove_output(state, keep=listing)
    remove_output(state)


def test_removing_an_output_that_is_not_there(state):
    remove_output(state)


def files_under(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
