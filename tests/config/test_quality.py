import pytest

from cxr_ray.config import EvaluateClassifierConfig, EvaluateSegmenterConfig
from cxr_ray.config.quality import QC_FLAGS, require_flags
from cxr_ray.errors import ConfigError


def test_every_flag_may_be_excluded():
    require_flags(QC_FLAGS)
    require_flags(())


@pytest.mark.parametrize("config", [EvaluateClassifierConfig, EvaluateSegmenterConfig])
def test_what_is_no_flag_is_named_with_those_that_exist(config):
    with pytest.raises(ConfigError, match=r"exclude_flags must be some of inverted, rotated_90, .*; got 'upside_down'"):
        config(predictions_uri="p", dataset_uri="d", output_uri="o", exclude_flags=("inverted", "upside_down"))
