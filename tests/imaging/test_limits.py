import pytest

from cxr_ray.errors import ConfigError
from cxr_ray.imaging.limits import DecodeLimits, ErrorKind, ImageRefused


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_megapixels": 0}, "max_megapixels must be a finite number > 0; got 0"),
        ({"max_megapixels": float("nan")}, "max_megapixels must be .* got nan"),
        ({"max_bytes": 0}, "max_bytes must be >= 1; got 0"),
    ],
)
def test_limits_check_themselves(arguments, message):
    with pytest.raises(ConfigError, match=message):
        DecodeLimits(**arguments)


def test_what_equals_the_limit_passes():
    limits = DecodeLimits(max_megapixels=0.01, max_bytes=30_000)
    limits.check_file(30_000)
    limits.check_samples(width=100, height=100, channels=3, bytes_per_sample=1)


@pytest.mark.parametrize(
    ("shape", "kind", "message"),
    [
        ((101, 100, 1, 1), ErrorKind.TOO_LARGE, "image of 101x100 pixels has more than max_megapixels=0.01"),
        ((100, 100, 2, 2), ErrorKind.TOO_LARGE, "decodes to 40000 bytes, more than max_bytes=30000"),
        ((0, 100, 1, 1), ErrorKind.UNREADABLE, "header claims an image of 0x100 pixels"),
    ],
)
def test_what_exceeds_a_limit_is_refused(shape, kind, message):
    limits = DecodeLimits(max_megapixels=0.01, max_bytes=30_000)
    with pytest.raises(ImageRefused, match=message) as refusal:
        limits.check_samples(**dict(zip(("width", "height", "channels", "bytes_per_sample"), shape, strict=True)))
    assert refusal.value.kind == kind


def test_a_large_file_is_refused():
    with pytest.raises(ImageRefused, match="file has 11 bytes, more than max_bytes=10"):
        DecodeLimits(max_bytes=10).check_file(11)
