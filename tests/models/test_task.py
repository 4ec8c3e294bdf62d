import numpy as np
import pytest
import torch

from cxr_ray.errors import BundleError
from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.multilabel_card import MultilabelCard
from cxr_ray.models.task import Findings, OneClass, task_of, task_of_mean

BASE = {"backbone": "resnet50", "image_size": 32, "weights_sha256": "0" * 64}
FINDINGS = Findings(("edema", "mass"), (1.0, 2.0), (0.5, 0.25))


def findings_card(*thresholds, labels=("edema", "mass")):
    return MultilabelCard(labels=labels, temperatures=(1.0,) * len(labels), thresholds=thresholds, **BASE)


def test_each_finding_has_the_sigmoid_of_its_own_logit():
    logits = torch.tensor([[0.0, 2.0], [-1.0, 3.0]])
    assert FINDINGS.probabilities(logits).equal(logits.sigmoid())
    assert OneClass(("a", "b")).probabilities(logits).equal(logits.softmax(1))


def test_a_finding_is_present_from_its_threshold_on():
    columns = FINDINGS.columns(np.array([[0.5, 0.2], [0.4, 0.25]], np.float32))
    assert list(columns) == ["prob_edema", "prob_mass", "label_edema", "label_mass"]
    assert (columns["label_edema"].tolist(), columns["label_mass"].tolist()) == ([1, 0], [0, 1])
    assert columns["label_edema"].dtype == np.int8
    assert columns["prob_mass"].tolist() == pytest.approx([0.2, 0.25])
    assert list(columns) == [field.name for field in FINDINGS.fields_of(FINDINGS.labels, "")]


def test_a_mean_of_classifiers_has_the_mean_of_their_thresholds():
    task = task_of_mean(["a", "b"], [findings_card(0.5, 0.2), findings_card(0.3, 0.4)])
    assert isinstance(task, Findings)
    assert task.thresholds == pytest.approx((0.4, 0.3))
    assert task_of(findings_card(0.5, 0.2)).thresholds == (0.5, 0.2)
    card = ModelCard(labels=("a", "b"), temperature=2.0, **BASE)
    assert task_of(card) == OneClass(("a", "b"), 2.0)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (
            ModelCard(labels=("edema", "mass"), **BASE),
            "b is a classifier, a is a multilabel_classifier; score them in separate jobs",
        ),
        (findings_card(0.5, 0.5, labels=("mass", "edema")), "score bundles of different labels in separate jobs"),
    ],
)
def test_classifiers_that_do_not_belong_together_are_refused(other, message):
    with pytest.raises(BundleError, match=message):
        task_of_mean(["a", "b"], [findings_card(0.5, 0.2), other])


def test_the_confidence_in_chosen_findings_is_the_highest_of_those_that_are_present():
    columns = FINDINGS.columns(np.array([[0.5, 0.9], [0.4, 0.3], [0.4, 0.2], [0.8, 0.1]], np.float32))
    assert FINDINGS.confidence_in(("edema", "mass"), columns) == pytest.approx([0.9, 0.3, np.nan, 0.8], nan_ok=True)
    assert FINDINGS.confidence_in(("edema",), columns) == pytest.approx([0.5, np.nan, np.nan, 0.8], nan_ok=True)
    assert FINDINGS.confidence_in((), columns).tolist() == [1, 1, 1, 1]


@pytest.mark.parametrize("engine", ["torch", "openvino"])
def test_a_classifier_of_findings_divides_each_logit_by_its_temperature(save_random, tmp_path, engine):
    labels, pixels = ("edema", "mass", "nodule"), np.random.default_rng(0).integers(0, 256, (3, 64, 64), np.uint8)
    card = {"card_type": MultilabelCard, "labels": labels, "thresholds": (0.5,) * 3}
    save_random(tmp_path / "plain", spread=True, temperatures=(1.0,) * 3, **card)
    save_random(tmp_path / "cool", spread=True, temperatures=(1.0, 2.0, 0.5), **card)
    plain = Classifier(str(tmp_path / "plain"), device="cpu", precision="fp32")
    cool = Classifier(str(tmp_path / "cool"), device="cpu", precision="fp32", engine=engine, threads=1)
    logits = torch.logit(torch.from_numpy(plain.predict(pixels)).double(), eps=1e-9)
    expected = (logits / torch.tensor([1.0, 2.0, 0.5])).sigmoid().numpy()
    np.testing.assert_allclose(cool.predict(pixels), expected, atol=2e-3)
    assert not np.allclose(expected.sum(1), 1, atol=0.01), "the probabilities of findings need not sum to 1"
