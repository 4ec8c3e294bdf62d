import dataclasses
import json

import numpy as np
import pytest
from scipy.special import softmax

from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.errors import BundleError
from cxr_ray.evaluation.scored_arrays import Scored
from cxr_ray.evaluation.thresholds import (
    IN_SAMPLE,
    NO_VAL,
    abstention,
    at_prevalences,
    calibration,
    compare_with_val,
    operating_points,
)
from cxr_ray.metrics.calibration import expected_calibration_error

LABELS = ("a", "b", "c")
CONFIG = EvaluateClassifierConfig(predictions_uri="none", dataset_uri="d", output_uri="o", bootstrap_draws=20)


def scored_images(seed: int, sharpness: float = 1.0) -> Scored:
    """Scores 300 images whose probabilities are right if the sharpness is 1."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(300, 3))
    truth = np.array([generator.choice(3, p=row) for row in softmax(logits, axis=1)])
    probabilities = softmax(sharpness * logits, axis=1)
    groups = np.arange(300)
    return Scored(
        labels=LABELS, truth=truth, predicted=probabilities.argmax(1), probabilities=probabilities, groups=groups
    )


def test_a_temperature_fitted_on_val_repairs_the_test_split():
    test, val = scored_images(0, sharpness=3.0), scored_images(1, sharpness=3.0)
    found = calibration(test, val, CONFIG, ["m"])

    assert found["refitted"]["temperature"] == pytest.approx(3, rel=0.25)
    assert found["refitted"]["ece"] < found["scored"]["ece"] / 2
    assert found["scored"]["ece"] == expected_calibration_error(test.truth, test.probabilities)
    assert found["before_temperature"] is None
    assert "name it with --model-uri" in found["before_temperature_missing"]


def test_probabilities_before_the_temperature_of_the_bundle(save_random, tmp_path):
    card = save_random(tmp_path / "model", temperature=2.0)
    (tmp_path / "scored").mkdir()
    record = {"config": {"model_uri": [str(tmp_path / "model")]}}
    (tmp_path / "scored/run.json").write_text(json.dumps(record))
    config = dataclasses.replace(CONFIG, predictions_uri=str(tmp_path / "scored"))
    test = scored_images(0, sharpness=0.5)

    found = calibration(test, None, config, [card.model_id])
    assert found["temperature"] == 2
    assert found["before_temperature"]["ece"] == pytest.approx(
        expected_calibration_error(test.truth, scored_images(0).probabilities)
    )
    assert found["refitted_missing"] == NO_VAL

    other = calibration(test, None, config, ["resnet50-other"])
    assert "is of the model" in other["before_temperature_missing"]
    named = dataclasses.replace(config, model_uri=str(tmp_path / "model"))
    with pytest.raises(BundleError, match="and the predictions of resnet50-other; name the bundle that scored them"):
        calibration(test, None, named, ["resnet50-other"])


def test_thresholds_are_chosen_on_val_and_applied_to_test():
    test, val = scored_images(0), scored_images(1)
    points = operating_points(test, val, CONFIG, None)

    assert list(points["classes"]) == list(LABELS)
    point = points["classes"]["a"]["sensitivity"]
    called_val, called = (one.probabilities[:, 0] >= point["chosen"]["threshold"] for one in (val, test))
    assert point["chosen"]["sensitivity"] == pytest.approx(called_val[val.truth == 0].mean())
    assert point["chosen"]["sensitivity"] >= 0.95
    assert point["sensitivity"] == pytest.approx(called[test.truth == 0].mean())

    again = operating_points(scored_images(2), None, CONFIG, {"operating_points": points})
    assert again["chosen_on"] == "internal"
    assert again["classes"]["a"]["sensitivity"]["chosen"] == point["chosen"]


def test_a_model_that_learned_from_val_is_suspected():
    test, val = scored_images(0), scored_images(1)

    honest = compare_with_val(test, val, CONFIG)
    assert (honest["n_images"], honest["accuracy"]) == (300, val.right.mean())
    assert not honest["is_suspicious"]
    low, high = honest["difference_interval"]
    assert low < test.right.mean() - val.right.mean() < high
    assert compare_with_val(test, val.only(val.right), CONFIG)["is_suspicious"]
    assert compare_with_val(test, None, CONFIG) is None


def test_without_a_val_split_the_reason_is_said():
    assert operating_points(scored_images(0), None, CONFIG, None)["missing"] == NO_VAL
    whole = dataclasses.replace(CONFIG, split="all")
    assert operating_points(scored_images(0), scored_images(0), whole, None)["missing"] == IN_SAMPLE
    assert abstention(scored_images(0), None, CONFIG, None)["missing"] == NO_VAL


def test_the_threshold_of_abstention_comes_from_val_an_option_or_the_internal_report():
    test, val = scored_images(0), scored_images(1)
    config = dataclasses.replace(CONFIG, target_accuracy=0.9)

    found = abstention(test, val, config, None)
    kept = val.confidence >= found["threshold"]
    assert val.right[kept].mean() >= 0.9
    assert found["accuracy"] == pytest.approx(test.right[test.confidence >= found["threshold"]].mean())
    assert found["risk_coverage"]["risk_at_coverage"][-1] == [1.0, pytest.approx((~test.right).mean())]

    again = abstention(scored_images(2), None, config, {"abstention": found})
    assert (again["threshold"], again["chosen_on"]) == (found["threshold"], "internal")
    given = abstention(test, val, dataclasses.replace(config, abstain_below=0.5), None)
    assert (given["threshold"], given["chosen_on"]) == (0.5, "option")
    never = abstention(test, val.only(~val.right), config, None)
    assert never["missing"] == "no threshold reaches an accuracy of 0.9 on the val split"


def test_prevalences_are_those_of_the_classes():
    one = at_prevalences(scored_images(0), dataclasses.replace(CONFIG, prevalence=("b=0.01",)))
    assert list(one) == ["b"]
    assert one["b"]["prevalence"] == 0.01
    every = at_prevalences(scored_images(0), dataclasses.replace(CONFIG, prevalence=("0.2",)))
    assert list(every) == list(LABELS)
