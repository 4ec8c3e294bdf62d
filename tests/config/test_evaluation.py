import pytest

from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.errors import ConfigError


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"split": "dev"}, r"split must be one of train, val, test, all; got 'dev'"),
        ({"strip_images": -1}, r"strip_images must be 0 to 64; got -1"),
        ({"strip_images": 65}, r"strip_images must be 0 to 64; got 65"),
        ({"bootstrap_draws": 9}, r"bootstrap_draws must be 10 to 100,000; got 9"),
        ({"seed": -1}, r"seed must be >= 0; got -1"),
        ({"target_sensitivity": 0.0}, r"target_sensitivity must be above 0 and at most 1; got 0.0"),
        ({"target_specificity": 1.1}, r"target_specificity must be above 0 and at most 1; got 1.1"),
        ({"target_accuracy": 2.0}, r"target_accuracy must be above 0 and at most 1; got 2.0"),
        ({"abstain_below": 1.5}, r"abstain_below must be 0 to 1; got 1.5"),
        ({"metadata_uri": "m.csv"}, r"metadata_uri 'm.csv' changes nothing without subgroups"),
        ({"prevalence": ("2",)}, r"prevalence must be one NUMBER or LABEL=NUMBER .* got '2'"),
        ({"prevalence": ("COVID=many",)}, r"prevalence must be .* got 'COVID=many'"),
        ({"prevalence": ("0.1", "0.2")}, r"prevalence must be .* got '0.2'"),
        ({"prevalence": ("COVID=0.1", "0.2")}, r"prevalence must be .* got \('COVID=0.1', '0.2'\)"),
        ({"label_map": ("healthy",)}, r"label_map must be THEIRS=OURS, .* got 'healthy'"),
        ({"label_map": ("a=COVID", "a=Normal")}, r"label_map must be .* once for each label; got 'a=Normal'"),
    ],
)
def test_bad_value_is_named_with_its_fix(choice, message):
    with pytest.raises(ConfigError, match=message):
        EvaluateClassifierConfig(predictions_uri="p", dataset_uri="d", output_uri="o", **choice)


def test_prevalences_and_labels_are_read():
    config = EvaluateClassifierConfig(
        predictions_uri="p",
        dataset_uri="d",
        output_uri="o",
        prevalence=("COVID=0.02", "Normal=.9"),
        label_map=("SARS-CoV-2=COVID", "old TB="),
    )

    assert config.prevalences() == {"COVID": 0.02, "Normal": 0.9}
    assert config.labels_mapped() == {"SARS-CoV-2": "COVID", "old TB": None}
