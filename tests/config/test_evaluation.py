import pytest

from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.errors import ConfigError


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"split": "dev"}, r"split must be one of train, val, test, all; got 'dev'"),
        ({"strip_images": -1}, r"strip_images must be 0 to 64; got -1"),
        ({"strip_images": 65}, r"strip_images must be 0 to 64; got 65"),
    ],
)
def test_bad_value_is_named_with_its_fix(choice, message):
    with pytest.raises(ConfigError, match=message):
        EvaluateClassifierConfig(predictions_uri="p", dataset_uri="d", output_uri="o", **choice)
