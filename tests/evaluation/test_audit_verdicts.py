import json

import pytest

from cxr_ray.errors import DatasetError, StorageError
from cxr_ray.evaluation.audit_verdicts import read_audit

MODEL = ["resnet50-0123456789ab"]
PASSED = {"check": "corner", "verdict": "pass", "figure": "0.02", "threshold": "0.1", "why": "no change"}
FAILED = {"check": "lungs", "verdict": "fail", "figure": "0.91", "threshold": "0.5", "why": "right without lungs"}


@pytest.fixture
def audit(tmp_path):
    def write(content):
        (tmp_path / "audit.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return str(tmp_path)

    return write


def test_the_worst_verdict_comes_first_and_folder_and_file_are_read(audit):
    uri = audit({"verdicts": [PASSED, {**PASSED, "check": "drift", "verdict": "not done"}, FAILED]})
    rows = read_audit(uri, MODEL)
    assert [row["verdict"] for row in rows] == ["fail", "pass", "not done"]
    assert rows[0] == FAILED
    assert read_audit(f"{uri}/audit.json", MODEL) == rows


def test_findings_of_the_audit_job_are_put_into_words(audit):
    found = {
        "check": "a",
        "question": "the border without the lungs",
        "measure": "accuracy beyond chance",
        "value": 0.4321,
        "interval": [0.4, 0.46],
        "limits": [0.1, 0.2],
        "verdict": "fail",
        "detail": "0.68 of 120 images",
    }
    unknown = found | {"value": None, "interval": None, "verdict": "not measured", "detail": "no segmenter was given"}
    rows = read_audit(audit({"model_id": MODEL[0], "findings": [unknown, found]}), MODEL)
    assert rows[0] == {
        "check": "the border without the lungs",
        "verdict": "fail",
        "figure": "accuracy beyond chance: 0.432 (95 % CI 0.4 to 0.46)",
        "threshold": "warn from 0.1, fail from 0.2",
        "why": "0.68 of 120 images",
    }
    assert (rows[1]["verdict"], rows[1]["figure"]) == ("not done", "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "audit.json is no JSON"),
        ({"checks": []}, "has no list 'verdicts' or 'findings'; name the audit.json of an audit"),
        ({"verdicts": ["pass"]}, "has no list 'verdicts'"),
        ({"verdicts": [PASSED | {"verdict": "fine"}]}, "has a check with the verdict 'fine'; it must be one of"),
        (
            {"model_id": "vit_b16-ffffffffffff", "verdicts": [PASSED]},
            "is of the model vit_b16-ffffffffffff, and the predictions of resnet50-0123456789ab; audit the same model",
        ),
    ],
)
def test_what_is_no_audit_of_this_model_is_refused(audit, content, message):
    with pytest.raises(DatasetError, match=message):
        read_audit(audit(content), MODEL)


def test_a_missing_audit_is_named(tmp_path):
    with pytest.raises(StorageError, match=r"none/audit\.json"):
        read_audit(str(tmp_path / "none"), MODEL)
