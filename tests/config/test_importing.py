import pytest

from cxr_ray.config import ImportConfig
from cxr_ray.errors import ConfigError

NEEDED = {"weights_uri": "w", "architecture": "resnet50", "output_uri": "o"}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 8}, "image_size must be >= 16; got 8"),
        ({"mean": (0.1, 0.2), "std": (1.0,)}, "mean must be one number or three"),
        ({"mean": (0.1,), "std": (0.0,)}, "std must be > 0"),
        ({"mean": (0.1,)}, "mean and std belong together"),
        ({"labels": ("a",), "encoder": True}, "labels, labels_from and encoder exclude each other"),
        ({"labels": ("a",), "labels_from": "d"}, "labels, labels_from and encoder exclude each other"),
    ],
)
def test_a_bad_value_is_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        ImportConfig(**NEEDED, **options)
