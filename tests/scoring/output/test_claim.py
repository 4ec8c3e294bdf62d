import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.config import ClassifyConfig, SegmentConfig
from cxr_ray.config.identity import MAY_CHANGE
from cxr_ray.errors import ResumeError
from cxr_ray.scoring.output.claim import check_claim, claim_output, identity_of_rows, remove_output
from cxr_ray.scoring.output.state import OutputState, finished_ids

ROWS = pa.schema([("image_id", pa.string()), ("entropy", pa.float32())])
CONFIG = ClassifyConfig(input_uri="s3://archive", output_uri="o", model_uri=("m",))


def job(*, config=CONFIG, schema=ROWS, model="resnet50-aaaaaaaaaaaa", preprocessing="111111111111", **options):
    return identity_of_rows(
        replace(config, **options), schema, model_ids=[model], preprocessing_ids=[preprocessing]
    )  # fmt: skip


JOB = job()


def ids_of(state):
    return [image_id for ids in finished_ids(state) for image_id in ids.to_pylist()]


@pytest.fixture
def state(tmp_path):
    return OutputState(str(tmp_path / "out"), "predictions")


def write_block(state, *ids, is_committed=True, schema=ROWS, name="block_000000"):
    table = pa.Table.from_pylist([{"image_id": i} for i in ids], schema=schema)
    write_table(table, f"{state.rows_uri}/{name}-0.parquet")
    if is_committed:
        write_table(table.select(["image_id"]), f"{state.marks_uri}/{name}.parquet")


def test_a_free_output_is_claimed_and_the_same_job_continues(state):
    check_claim(state, JOB)
    assert not Path(state.uri).exists(), "check_claim writes nothing"
    claim_output(state, JOB, overwrite=False)
    write_block(state, "a")
    claim_output(state, JOB, overwrite=False)
    assert ids_of(state) == ["a"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", "vit_b16-bbbbbbbbbbbb"),
        ("preprocessing", "222222222222"),
        ("input_uri", "s3://elsewhere"),
        ("precision", "fp32"),
        ("exclude", ("*/masks/*",)),
    ],
)
def test_another_job_is_refused_and_both_are_named(state, field, value):
    another = job(**{field: value})
    for ours, theirs in ((JOB, another), (another, JOB)):
        claim_output(state, ours, overwrite=True)
        write_block(state, "a")
        with pytest.raises(ResumeError) as caught:
            claim_output(state, theirs, overwrite=False)
        held, given = ours.values[field] or "none", theirs.values[field] or "none"
        assert str(caught.value) == (
            f"{state.uri} holds rows made with {field} {held}; this command has {field} {given}; "
            "choose another --output-uri, or --overwrite to start over"
        )
        assert ids_of(state) == ["a"]


def test_the_order_of_patterns_and_a_slash_at_the_end_are_no_other_job():
    base = job(exclude=("a", "b"))
    assert job(exclude=("b", "a", "b"), input_uri="s3://archive/") == base


@dataclass(frozen=True, kw_only=True, slots=True)
class LaterConfig(ClassifyConfig):
    """Config of a later version with two new options: one that changes rows, and one that does not."""

    sharpen: float = 0.0
    prefetch: int = field(default=1, metadata=MAY_CHANGE)


def test_a_new_option_is_refused_where_it_changes_rows_and_not_where_it_does_not(state):
    later = LaterConfig(input_uri="s3://archive", output_uri="o", model_uri=("m",))
    claim_output(state, job(config=later), overwrite=False)
    write_block(state, "a")
    claim_output(state, job(config=later, prefetch=9), overwrite=False)
    with pytest.raises(ResumeError, match=r"made with sharpen 0\.0; this command has sharpen 0\.5; choose another"):
        claim_output(state, job(config=later, sharpen=0.5), overwrite=False)
    claim_output(state, JOB, overwrite=True)
    write_block(state, "a")
    with pytest.raises(ResumeError, match="made by another version of cxr_ray, which did not note sharpen; this"):
        claim_output(state, job(config=later), overwrite=False)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (pa.schema([ROWS.field("image_id")]), "without the column entropy, which this command writes"),
        (ROWS.append(pa.field("beauty", pa.string())), "with the column beauty, which this command does not write"),
        (ROWS.set(1, pa.field("entropy", pa.float64())), "with the column entropy of type double; this command writes"),
    ],
)
def test_rows_in_other_columns_are_refused_though_the_job_is_the_same(state, held, words):
    """Files of two schemas cannot be read as one table; `--overwrite` starts a table of one schema."""
    claim_output(state, JOB, overwrite=False)
    write_block(state, "a")
    write_block(state, "b", schema=held, name="block_000001")
    with pytest.raises(ResumeError) as caught:
        claim_output(state, JOB, overwrite=False)
    assert str(caught.value).startswith(f"{state.rows_uri}/block_000001-0.parquet holds rows {words}")
    assert str(caught.value).endswith("; choose another --output-uri, or --overwrite to start over")
    claim_output(state, JOB, overwrite=True)
    write_block(state, "a")
    write_block(state, "b", name="block_000001")
    assert duckdb.sql(f"SELECT image_id, entropy FROM '{state.rows_uri}/*.parquet'").fetchall() == [
        ("a", None),
        ("b", None),
    ]


OF_THE_FIRST_VERSION = {
    "input_uri": "s3://archive",
    "model": "resnet50-aaaaaaaaaaaa",
    "preprocessing": "111111111111",
    "precision": "auto",
    "exclude": "",
}
"""The content of job.json in the first version, which did not store every option."""


def leave_rows_of_the_first_version(state, **schema):
    write_block(state, "a", **schema)
    Path(state.signature_uri).write_text(json.dumps(OF_THE_FIRST_VERSION, indent=2))


def test_predictions_of_the_first_version_are_refused_because_it_did_not_note_how_they_were_computed(state):
    leave_rows_of_the_first_version(state)
    with pytest.raises(
        ResumeError, match=r"another version of cxr_ray, which did not note orientation_uri; .*--overwrite"
    ):
        claim_output(state, JOB, overwrite=False)
    claim_output(state, JOB, overwrite=True)
    assert ids_of(state) == []


def test_rows_of_other_columns_are_refused_though_the_work_is_the_same(state):
    claim_output(state, JOB, overwrite=False)
    write_block(state, "a", schema=pa.schema([ROWS.field("image_id")]))
    with pytest.raises(ResumeError, match=r"holds rows without the column entropy, which this .*--overwrite"):
        claim_output(state, JOB, overwrite=False)


def test_keys_of_two_secrets_are_not_mixed(state, monkeypatch):
    claim_output(state, JOB, overwrite=False)
    write_block(state, "a")
    monkeypatch.setenv("CXR_RAY_PATIENT_SECRET", "another")
    with pytest.raises(ResumeError, match=r"made with patient_secret [0-9a-f]{8}; this command has patient_secret "):
        claim_output(state, job(), overwrite=False)


def test_masks_of_the_first_version_are_refused_for_the_same_reason(state):
    leave_rows_of_the_first_version(state)
    config = SegmentConfig(input_uri="s3://archive", output_uri="o", model_uri="m")
    with pytest.raises(
        ResumeError, match=r"another version of cxr_ray, which did not note orientation_uri; .*--overwrite"
    ):
        claim_output(state, job(config=config), overwrite=False)
    claim_output(state, job(config=config), overwrite=True)


@pytest.mark.parametrize("has_uncommitted_rows", [False, True])
def test_the_identity_of_a_job_without_committed_rows_is_ignored(state, has_uncommitted_rows):
    claim_output(state, JOB, overwrite=False)
    if has_uncommitted_rows:
        write_block(state, "a", is_committed=False)
    another = job(model="vit_b16-bbbbbbbbbbbb")
    check_claim(state, another)
    claim_output(state, another, overwrite=False)
    write_block(state, "a")
    claim_output(state, another, overwrite=False)
    with pytest.raises(ResumeError, match="holds rows made with model vit_b16-bbbbbbbbbbbb"):
        claim_output(state, JOB, overwrite=False)


def test_rows_of_an_unknown_job_are_refused(state):
    write_block(state, "a", is_committed=False)
    with pytest.raises(ResumeError, match="holds rows of an unknown job; choose another --output-uri, or --overwrite"):
        claim_output(state, JOB, overwrite=False)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", r"job\.json is damaged"),
        ("[]", r"job\.json is damaged"),
        ("{}", "made by another version"),
        ('{"model": "m"}', "made by another version"),
        (json.dumps(JOB.values | {"newer": 1}), "made with newer 1, which this version of cxr_ray does not know"),
    ],
)
def test_a_signature_that_is_damaged_or_of_another_version_is_refused(state, content, words):
    write_block(state, "a")
    Path(state.signature_uri).write_text(content)
    with pytest.raises(ResumeError, match=f"{words}.*; choose another --output-uri, or --overwrite"):
        claim_output(state, JOB, overwrite=False)
    claim_output(state, JOB, overwrite=True)
    claim_output(state, JOB, overwrite=False)


def test_overwrite_deletes_only_what_the_job_wrote(state, tmp_path):
    claim_output(state, JOB, overwrite=False)
    write_block(state, "a")
    listing = "out/_state/predictions/manifest.parquet"
    owner = "out/_state/predictions.owner.json"
    others = ["out/notes.txt", "out/masks/m.parquet", "out/predictions_old/p.parquet", "beside/run.json", owner]
    for name in [*others, listing, "out/run.json", "out/_state/predictions/remaining-x.parquet"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x")
    another = job(model="m")
    signature = "out/_state/predictions/job.json"
    claim_output(state, another, overwrite=True, keep=str(tmp_path / listing))
    assert files_under(tmp_path) == {*others, listing, signature}
    claim_output(state, another, overwrite=True, keep="s3://elsewhere/manifest.parquet")
    assert files_under(tmp_path) == {*others, signature}
    claim_output(state, another, overwrite=False)


@pytest.mark.slow
@pytest.mark.s3
def test_overwrite_in_s3_keeps_what_is_to_be_kept(bucket_uri):
    state = OutputState(f"{bucket_uri}/out #1", "predictions")
    claim_output(state, JOB, overwrite=False)
    write_block(state, "a")
    listing = state.file_uri("manifest.parquet")
    write_table(pa.table({"image_id": ["a"]}), listing)
    claim_output(state, job(model="m"), overwrite=True, keep=listing)
    assert ids_of(state) == []
    claim_output(state, job(model="m"), overwrite=False)
    remove_output(state, keep=listing)
    remove_output(state)


def test_removing_an_output_that_is_not_there(state):
    remove_output(state)


def files_under(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_shards_of_one_number_share_an_output_and_nothing_else_may_join_them(state):
    first, second = (OutputState(state.uri, "predictions", shard) for shard in ("1/2", "2/2"))
    for shard, image_id in ((first, "a"), (second, "b")):
        claim_output(shard, JOB, overwrite=False)
        write_block(shard, image_id)
    assert read_table(state.rows_uri)["image_id"].to_pylist() == ["a", "b"]
    assert (ids_of(first), ids_of(second)) == (["a"], ["b"])
    with pytest.raises(ResumeError, match="holds shards of 2; use the same number of shards, or choose another"):
        check_claim(state, JOB)
    for overwrite in (False, True):
        with pytest.raises(ResumeError, match="holds shards of 2"):
            claim_output(OutputState(state.uri, "predictions", "1/3"), JOB, overwrite=overwrite)
    claim_output(first, job(model="other-bbbbbbbbbbbb"), overwrite=True)
    assert (ids_of(first), ids_of(second)) == ([], ["b"])
    claim_output(state, JOB, overwrite=True)
    write_block(state, "c")
    assert read_table(state.rows_uri)["image_id"].to_pylist() == ["c"]
    with pytest.raises(ResumeError, match="holds rows without --shard; use the same"):
        check_claim(first, JOB)
