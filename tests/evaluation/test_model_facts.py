import json

import pytest

from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.evaluation.model_facts import collect_facts


@pytest.fixture
def config(tmp_path):
    return EvaluateClassifierConfig(
        predictions_uri=str(tmp_path / "scored"), dataset_uri="d.parquet", output_uri=str(tmp_path / "report")
    )


@pytest.fixture
def record(tmp_path):
    def write(folder, **content):
        path = tmp_path / folder / "run.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content))

    return write


def test_the_bundle_and_its_training_are_found_by_the_record_of_the_predictions(config, record, save_random, tmp_path):
    card = save_random(tmp_path / "model")
    record("model", config={"epochs": 3}, versions={"cxr_ray": "0.1.0"})
    record("scored", config={"model_uri": [str(tmp_path / "model")]}, versions={"cxr_ray": "0.1.0"})
    facts = collect_facts(config, [card.model_id])
    assert facts.cards[0]["model_id"] == card.model_id
    assert facts.training["config"] == {"epochs": 3}
    assert facts.notes == ()


def test_a_bundle_that_changed_is_not_used(config, record, save_random, tmp_path):
    save_random(tmp_path / "model")
    record("scored", config={"model_uri": [str(tmp_path / "model")]})
    facts = collect_facts(config, ["resnet50-0123456789ab"])
    assert facts.cards == ()
    assert facts.training == {}
    assert "which did not make these predictions" in facts.notes[0]


def test_nothing_is_known_without_records(config, record, tmp_path):
    assert collect_facts(config, ["m"]).notes == ("The predictions have no run.json.",)
    record("scored", config={"model_uri": [str(tmp_path / "gone")]})
    assert "The card of the bundle cannot be read" in collect_facts(config, ["m"]).notes[0]
    (tmp_path / "scored/run.json").write_text("{")
    assert collect_facts(config, ["m"]).scoring == {}


def test_secrets_of_uris_stay_out(config, record):
    record("scored", config={"input_uri": "s3://key:secret@bucket/x"})
    assert collect_facts(config, []).scoring["config"]["input_uri"] == "s3://***@bucket/x"
