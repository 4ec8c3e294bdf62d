import json

import pytest

from cxr_ray.config.importing import ImportConfig
from cxr_ray.errors import BundleError
from cxr_ray.models.bundle import read_card
from cxr_ray.models.encoder import read_encoder_card
from cxr_ray.models.foreign.source import read_source
from cxr_ray.models.import_model import import_model
from cxr_ray.models.multilabel_card import MultilabelCard, read_classifier_card

CALIBRATION = {"temperatures": (1.0, 2.0), "thresholds": (0.5, 0.25)}


@pytest.fixture
def uri(save_random, tmp_path):
    save_random(tmp_path, card_type=MultilabelCard, labels=("edema", "mass"), **CALIBRATION)
    return str(tmp_path)


def test_the_card_comes_back_as_a_classifier_of_findings_and_is_no_classifier_of_classes(uri):
    card = read_classifier_card(uri)
    assert isinstance(card, MultilabelCard)
    assert (card.labels, card.temperatures, card.thresholds) == (("edema", "mass"), *CALIBRATION.values())
    with pytest.raises(
        BundleError, match="of kind 'multilabel_classifier'; a 'classifier' is needed here; findings are scored by"
    ):
        read_card(uri)


def test_a_classifier_of_classes_is_read_too(save_random, tmp_path):
    save_random(tmp_path)
    card = read_classifier_card(str(tmp_path))
    assert not isinstance(card, MultilabelCard)
    written = json.loads((tmp_path / "model.json").read_text())
    assert {"temperatures", "thresholds"} & written.keys() == set()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("thresholds", [0.5], "thresholds has 1 values for 2 labels"),
        ("thresholds", [0.5, 1.5], "less than or equal to 1"),
        ("temperatures", [0.0, 1.0], "greater than 0"),
    ],
)
def test_a_damaged_card_is_refused(uri, tmp_path, field, value, message):
    card = json.loads((tmp_path / "model.json").read_text()) | {field: value}
    (tmp_path / "model.json").write_text(json.dumps(card))
    with pytest.raises(BundleError, match=message):
        read_classifier_card(uri)


def test_its_network_is_an_encoder_and_a_start_but_never_a_classifier_of_classes(save_random, tmp_path):
    card = {"card_type": MultilabelCard, "backbone": "densenet121", "image_size": 32, "labels": ("edema", "mass")}
    save_random(tmp_path / "findings", **card, **CALIBRATION)
    uri = str(tmp_path / "findings")
    assert read_encoder_card(uri).labels == ("edema", "mass")
    source = read_source(uri)
    assert source.labels == ("edema", "mass")
    options = {"weights_uri": uri, "architecture": "densenet121", "output_uri": str(tmp_path / "imported")}
    with pytest.raises(
        BundleError, match="each output is a finding of its own, and the classes of a bundle exclude each other"
    ):
        import_model(ImportConfig(**options))
    assert import_model(ImportConfig(**options, encoder=True)).kind == "encoder"
