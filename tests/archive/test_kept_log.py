import json
import logging
from pathlib import Path

import pytest

from cxr_ray.archive import kept_log as module
from cxr_ray.archive.kept_log import MOST_PARTS, KeptLog, kept_log
from cxr_ray.archive.listing import list_objects
from cxr_ray.config.terminal import KEPT_ONLY, print_line
from cxr_ray.errors import StorageError

log = logging.getLogger("cxr_ray")


@pytest.fixture(autouse=True)
def level_of_a_program():
    """The level that Python gives to a program that sets none, which a kept log leaves as it was."""
    level = log.level
    log.setLevel(logging.NOTSET)
    yield
    assert log.level == logging.NOTSET
    log.setLevel(level)


def lines_of(output):
    """The lines of every log of an output."""
    texts = [Path(path).read_text() for path in sorted(Path(output, "logs").iterdir())]
    return [json.loads(line) for text in texts for line in text.splitlines()]


def test_each_line_names_time_level_run_and_message(tmp_path):
    with kept_log(str(tmp_path), "run-7"):
        log.info("listed %s images", 3)
        print_line("3 rows")
        logging.getLogger(KEPT_ONLY).error("what a worker said last")
    found = lines_of(tmp_path)
    assert [line.keys() for line in found] == [{"time", "level", "run_id", "message"}] * 3
    assert [(line["level"], line["message"]) for line in found] == [
        ("INFO", "listed 3 images"),
        ("INFO", "3 rows"),
        ("ERROR", "what a worker said last"),
    ]
    assert {line["run_id"] for line in found} == {"run-7"}
    assert found[0]["time"].endswith("+00:00")


def test_the_error_that_ends_a_run_is_its_last_line(tmp_path):
    with pytest.raises(StorageError), kept_log(str(tmp_path), "r"):
        raise StorageError("cannot read s3://key:secret@bucket/a; check the keys")
    (line,) = lines_of(tmp_path)
    assert (line["level"], line["message"]) == ("ERROR", "cannot read s3://***@bucket/a; check the keys")


def test_an_unforeseen_error_is_kept_with_its_lines_of_code_and_without_what_its_causes_say(tmp_path):
    def fail():
        try:
            raise ValueError("header of Plantedname")
        except ValueError as cause:
            raise RuntimeError("first\nsecond") from cause

    with pytest.raises(RuntimeError), kept_log(str(tmp_path), "r"):
        fail()
    (line,) = lines_of(tmp_path)
    assert line["message"].startswith("RuntimeError: first\n")
    assert "in fail" in line["message"]
    assert "Plantedname" not in line["message"]


def test_lines_are_there_while_the_run_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "UPLOAD_SECONDS", 0.01)
    with kept_log(str(tmp_path), "r"):
        log.info("a line")
        while not Path(tmp_path, "logs", "r.jsonl").exists():
            pass
        assert lines_of(tmp_path)[0]["message"] == "a line"


@pytest.mark.s3
def test_a_long_log_is_a_bounded_number_of_objects(bucket_uri, monkeypatch, caplog):
    monkeypatch.setattr(module, "PART_BYTES", 200)
    handler = KeptLog(f"{bucket_uri}/out/logs", "r")
    for number in range(3 * MOST_PARTS):
        handler.handle(log.makeRecord("cxr_ray", logging.INFO, "", 0, f"{number} {'x' * 100}", (), None))
        handler.upload()
        handler.upload()
    names = [entry.name for entry in list_objects(f"{bucket_uri}/out/logs")]
    assert len(names) == MOST_PARTS
    assert {"r.jsonl", "r-2.jsonl", f"r-{MOST_PARTS}.jsonl"} <= set(names)


def test_a_log_that_cannot_be_written_is_a_warning_and_no_failure(tmp_path, caplog):
    (tmp_path / "logs").write_text("in the way")
    with kept_log(str(tmp_path), "r"):
        log.info("a line")
    assert "the kept log lacks the latest lines: cannot write" in caplog.text
