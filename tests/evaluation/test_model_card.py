import pytest

from cxr_ray.evaluation.model_card import model_card
from cxr_ray.evaluation.model_facts import ModelFacts
from tests.evaluation.whole_metrics import full_metrics

CARD = {
    "backbone": "resnet50",
    "model_id": "resnet50-0123456789ab",
    "precision": "fp32",
    "created_at": "2026-11-01T00:00:00+00:00",
    "image_size": 224,
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
    "interpolation": "bilinear",
    "temperature": 1.25,
    "dataset_fingerprint": "00112233aabb",
    "source": {"licence": "apache-2.0"},
    "metrics": {},
}


def answers(metrics, facts):
    return {topic["name"]: topic["answer"] for topic in model_card(metrics, facts)["topics"]}


@pytest.fixture
def metrics():
    return full_metrics()


def test_what_files_say_is_answered(metrics):
    scoring = {"config": {"engine": "torch", "precision": "auto"}, "versions": {"cxr_ray": "0.1.0", "torch": "2.11"}}
    found = answers(metrics, ModelFacts(cards=(CARD,), scoring=scoring))
    assert found["kind"].startswith("Deep learning (resnet50) that assigns one of 3 classes")
    assert found["network"] == "resnet50-0123456789ab, fp32, made 2026-11-01T00:00:00+00:00."
    assert "squashed to 224 x 224 pixels (bilinear), minus the mean 0.5 / 0.5 / 0.5" in found["preprocessing"]
    assert found["software"] == "cxr_ray 0.1.0, torch 2.11."
    assert "temperature 1.25" in found["output"]
    assert found["calculation"] == "By classify_archive.py: engine torch, precision auto."
    assert "2 images that could not be read and 7 without a prediction" in found["missing"]
    assert found["partitions"] == "By the column split of the dataset: train 10, test 5."
    assert "more than one split: 1; groups of copies: 0. The patient is not known of 3 images" in found["disjoint"]
    assert "of which it uses the test split" in found["internal"]
    assert "apache-2.0" in found["availability"]


def test_what_no_file_says_is_not_known(metrics):
    card = model_card(metrics, ModelFacts(notes=("The predictions have no run.json.",)))
    found = {topic["name"]: topic["answer"] for topic in card["topics"]}
    unknown = {name for name, answer in found.items() if answer is None}
    assert {
        "use",
        "ethics",
        "funding",
        "annotators",
        "network",
        "software",
        "training",
        "fairness",
        "robustness",
    } <= unknown
    assert found["internal"] is None
    assert found["external"] is None
    assert card["notes"] == ["The predictions have no run.json."]
    assert 0 < card["claim_answered"] < card["claim_items"] == 44
    assert 0 < card["tripod_answered"] < card["tripod_items"] == 52


def test_more_records_answer_more_items(metrics):
    empty, filled = model_card(metrics, ModelFacts()), model_card(metrics, ModelFacts(cards=(CARD,)))
    assert filled["claim_answered"] > empty["claim_answered"]


def test_a_dataset_that_the_model_was_not_trained_on_is_no_internal_evaluation(metrics):
    other = CARD | {"dataset_fingerprint": "ffffffffffff"}
    assert answers(metrics, ModelFacts(cards=(other,)))["internal"] is None


def test_an_audit_and_subgroups_are_named(metrics):
    metrics["audit"] = [{"check": "c", "verdict": "pass", "figure": "", "threshold": "", "why": ""}]
    metrics["subgroups"] = {"view_position": {}}
    found = answers(metrics, ModelFacts())
    assert found["robustness"] == "Audited: see the section Audit."
    assert found["fairness"] == "Figures by view position: in the sections Subgroups."
