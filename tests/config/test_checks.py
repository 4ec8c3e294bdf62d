import pytest

from cxr_ray.config.checks import require
from cxr_ray.errors import ConfigError


def test_a_bad_value_is_named_with_what_is_allowed():
    with pytest.raises(ConfigError, match=r"^device must be cpu or cuda; got 'tpu'$"):
        require(False, "device", "tpu", "cpu or cuda")


def test_a_good_value_passes():
    require(True, "batch_size", 1, ">= 1")
