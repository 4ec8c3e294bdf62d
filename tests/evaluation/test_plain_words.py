import pytest

from cxr_ray.evaluation.plain_words import in_short, limits_of
from tests.evaluation.whole_metrics import full_metrics


@pytest.fixture
def metrics():
    return full_metrics()


def calibrated(confidence, low):
    return {"mean_confidence": confidence, "accuracy": 0.75, "ece_interval": [low, 0.2]}


def test_the_outcome_is_said_in_sentences(metrics):
    said = in_short(metrics)
    assert said[0] == (
        "resnet50-0123456789ab classified 4 of 1,234 radiographs of the test split, of 4 patients, into 3 classes."
    )
    assert said[1].startswith("It was right in 75.0 % (95 % CI ")
    assert said[2].startswith("It found Normal most reliably, in 100.0 %")
    assert "and Lung Opacity least, in 50.0 %" in said[2]
    assert said[-1] == "Whether it looks at the lungs was not audited."


def test_classes_that_are_found_equally_well_are_not_ranked(metrics):
    metrics["per_class"]["Lung_Opacity"]["recall"] = 1.0
    assert not any("most reliably" in sentence for sentence in in_short(metrics))


@pytest.mark.parametrize(
    ("confidence", "low", "words"),
    [
        (0.93, 0.05, "It is surer than it is right: its mean confidence is 0.93, its accuracy 0.75."),
        (0.60, 0.05, "It is less sure than it is right"),
        (0.76, 0.0, "Its probabilities are as good as chance lets one see"),
    ],
)
def test_confidence_is_compared_with_accuracy(metrics, confidence, low, words):
    metrics["calibration"]["scored"] = calibrated(confidence, low)
    assert any(words in sentence for sentence in in_short(metrics))


def test_the_audit_is_counted(metrics):
    metrics["audit"] = [{"verdict": verdict} for verdict in ("pass", "fail", "pass", "not done")]
    assert in_short(metrics)[-1] == "An audit of what it looks at says: 1 fail, 2 pass, 1 not done."


def test_limits_name_what_weakens_the_figures(metrics):
    said = " ".join(limits_of(metrics))
    assert "Fewer than 30 images are of Normal, Lung Opacity; their intervals are wide." in said
    assert "No image is of COVID" in said
    assert "Patients with images in more than one split: 1, and groups of copies: 0; the model" in said
    assert "9 images are in no figure" in said
    assert "not set beside images of another hospital" in said
    assert "No audit says" in said


def test_limits_that_are_met_are_not_named(metrics):
    metrics["splits"] = metrics["splits"] | {"patients_shared": 0}
    metrics |= {
        "audit": [{"verdict": "pass"}],
        "external": {"x": 1},
        "subgroups": {"age": {}},
        "n_errors": 0,
        "n_missing": 0,
    }
    metrics["at_prevalence"] = {"COVID": {}}
    said = " ".join(limits_of(metrics))
    for words in ("audit", "another hospital", "more than one split", "in no figure", "Figures by sex", "PPV"):
        assert words not in said
    assert "labels are taken as true" in said
