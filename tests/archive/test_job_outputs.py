import json
import logging
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from fsspec import filesystem

from cxr_ray.archive import job_outputs
from cxr_ray.archive.job_outputs import NAMED, list_archive, list_with_outputs, require_other_place
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.uris import join_uri, open_filesystem, write_bytes
from cxr_ray.config import IndexConfig
from cxr_ray.errors import ConfigError, StorageError

RECORD = json.dumps({"config": {}, "versions": {"cxr_ray": "0.1"}}).encode()


def put(prefix: str, *names: str, content: bytes = b"x") -> None:
    for name in names:
        write_bytes(join_uri(prefix, name), content)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Lines of this package in the log, without those of the S3 server."""
    return [record.getMessage() for record in caplog.records if record.name == "cxr_ray"]


def names_of(uri: str) -> list[str]:
    return [entry.name for entry in list_archive(uri)]


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.s3), "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty archive on each kind of storage."""
    if request.param == "local":
        yield f"{tmp_path}/in"
    elif request.param == "s3":
        yield f"{request.getfixturevalue('bucket_uri')}/in"
    else:
        yield f"memory://{uuid.uuid4().hex}"
        filesystem("memory").store.clear()


@pytest.mark.parametrize("lookahead", [1, 3, 4096])
def test_outputs_of_jobs_are_passed_over_counted_and_named(place, caplog, monkeypatch, lookahead):
    monkeypatch.setattr(job_outputs, "LOOKAHEAD", lookahead)
    put(place, "COVID/images/1.png", "COVID/images/2.png", "a.png", "z/1.png")
    put(place, "out/_state/masks.owner.json", "out/Q.png", "out/overlays/a.png.png", "out/overlays/z/1.png.png")
    put(place, "z/old/report/confusion_matrix.png", "z/old/report/metrics.json")
    write_run_record(join_uri(place, "z/old/report"), IndexConfig(input_uri="i", output_uri="o"))
    with caplog.at_level(logging.INFO, logger="cxr_ray"):
        assert names_of(place) == ["COVID/images/1.png", "COVID/images/2.png", "a.png", "z/1.png"]
    assert said(caplog) == [f"7 files in outputs of jobs below {place} were passed over: out, z/old/report"]


def test_a_listing_without_outputs_says_nothing(place, caplog):
    put(place, "run.json/1.png", "a/_states/1.png", "a/x.run.json", "a/overlays/1.png")
    with caplog.at_level(logging.INFO, logger="cxr_ray"):
        assert len(names_of(place)) == 4
    assert said(caplog) == []


@pytest.mark.parametrize("content", [b"{}", b"[]", b"no json", b'{"config": {}, "versions": {"other": "1"}}'])
def test_a_record_of_another_program_marks_no_output(tmp_path, content):
    put(str(tmp_path), "in/a/run.json", content=content)
    put(str(tmp_path), "in/a/1.png")
    assert names_of(f"{tmp_path}/in") == ["a/1.png", "a/run.json"]


@pytest.mark.parametrize("mark", ["run.json", "_state/masks/job.json"])
def test_images_beside_an_output_in_the_listed_folder_itself_stay(place, caplog, mark):
    put(place, "Normal/1.png", "images/1.png", "logs/1.png", "masks/1.png", "z.png")
    put(
        place,
        "overlays/z.png.png",
        "confusion_matrix.png",
        "tensorboard/events.out.tfevents.1",
        "dicom_seg/1.seg.dcm",
        "masks/2.parquet",
        "logs/20261127T101500-ab12cd.jsonl",
    )
    put(place, mark, content=RECORD)
    kept = [
        "Normal/1.png",
        "images/1.png",
        "logs/1.png",
        "masks/1.png",
        *(["run.json"] if mark == "run.json" else []),
        "z.png",
    ]
    with caplog.at_level(logging.INFO, logger="cxr_ray"):
        assert names_of(place) == kept
    assert "were passed over: ." in caplog.text


def test_folders_named_like_parts_of_an_output_are_images_where_there_is_no_output(place):
    put(place, "overlays/1.png", "tensorboard/1.png", "confusion_matrix.png")
    assert names_of(place) == ["confusion_matrix.png", "overlays/1.png", "tensorboard/1.png"]


def test_the_folder_that_a_user_names_is_listed_although_it_lies_in_an_output(place):
    put(place, "out/_state/masks/job.json", "out/overlays/1.png")
    assert names_of(f"{place}/out/overlays") == ["1.png"]


def test_an_output_reached_through_a_link_is_passed_over(tmp_path):
    put(str(tmp_path), "in/1.png", "elsewhere/_state/masks/job.json", "elsewhere/overlays/1.png.png")
    (tmp_path / "in" / "out").symlink_to("../elsewhere")
    assert names_of(f"{tmp_path}/in") == ["1.png"]


def test_of_many_outputs_the_first_are_named(tmp_path, caplog):
    put(str(tmp_path), *(f"in/{n:02}/_state/x" for n in range(NAMED + 2)), "in/z.png")
    with caplog.at_level(logging.INFO, logger="cxr_ray"):
        assert names_of(f"{tmp_path}/in") == ["z.png"]
    assert caplog.messages[0].endswith("were passed over: 00, 01, 02, 03, 04 and 2 more")


def test_an_output_that_holds_another_is_named_once(tmp_path, caplog):
    put(str(tmp_path), "in/_state/x", "in/out/_state/x", "in/out/1.png", "in/overlays/1.png", "in/z.png")
    with caplog.at_level(logging.INFO, logger="cxr_ray"):
        assert names_of(f"{tmp_path}/in") == ["z.png"]
    assert said(caplog) == [f"4 files in outputs of jobs below {tmp_path}/in were passed over: ., out"]


def test_each_object_comes_with_the_outermost_output_around_it(tmp_path):
    put(str(tmp_path), "in/a/_state/x", "in/a/b/_state/x", "in/a/b/1.png", "in/a/images/2.png", "in/c.png")
    found = [(entry.name, output) for entry, output in list_with_outputs(f"{tmp_path}/in")]
    outputs = {"a/_state/x": "a", "a/b/1.png": "a/b", "a/b/_state/x": "a/b", "a/images/2.png": None, "c.png": None}
    assert found == list(outputs.items()), "no job writes a folder of images, so they are the user's"


def test_nothing_is_an_error_as_in_every_listing(place):
    with pytest.raises(StorageError, match=r"nothing exists at|is empty"):
        names_of(place)


@pytest.mark.s3
def test_marks_of_folders_in_s3_are_no_images_and_hide_none(bucket_uri):
    put(f"{bucket_uri}/data", "COVID/images/1.png", "COVID/images/2.png", "Normal/1.png", "Normal-x.png")
    fs, bucket = open_filesystem(bucket_uri)
    marks = [
        "data",
        "data/",
        "data_$folder$",
        "data/COVID/",
        "data/COVID/images/",
        "data/COVID_$folder$",
        "data/Normal",
    ]
    for key in marks:
        fs.call_s3("put_object", Bucket=bucket, Key=key, Body=b"")
    expected = ["COVID/images/1.png", "COVID/images/2.png", "Normal-x.png", "Normal/1.png"]
    assert names_of(f"{bucket_uri}/data") == names_of(f"{bucket_uri}/data/") == expected
    assert names_of(bucket_uri) == [f"data/{name}" for name in expected]
    assert names_of(f"{bucket_uri}/data/Normal") == ["1.png"]


@pytest.mark.s3
def test_an_empty_object_that_is_no_mark_stays(bucket_uri):
    put(bucket_uri, "in/1.png", "in/1.png.bak", "in/_$folder$.png", content=b"")
    put(bucket_uri, "in/old_$folder$", content=b"more")
    assert names_of(f"{bucket_uri}/in") == ["1.png", "1.png.bak", "_$folder$.png", "old_$folder$"]


@pytest.mark.parametrize("other", ["{0}", "{0}/", "file://{0}", "{0}/x/..", "{0}/../link", "in", "./in/"])
def test_an_output_that_is_the_input_is_refused(tmp_path, monkeypatch, other):
    (tmp_path / "in").mkdir()
    (tmp_path / "link").symlink_to("in")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="output_uri must be another folder than input_uri; got"):
        require_other_place(other.format(tmp_path / "in"), input_uri=str(tmp_path / "in"))


def test_places_that_differ_are_accepted(tmp_path):
    require_other_place(f"{tmp_path}/in/out", input_uri=f"{tmp_path}/in")
    require_other_place("s3://in/a", input_uri="s3://in", dataset_uri="/in/a")
    with pytest.raises(ConfigError, match="another folder than input_uri; got 's3a://in/a/' for both"):
        require_other_place("s3a://in/a/", input_uri="s3://in/a")
