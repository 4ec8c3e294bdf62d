import pytest

from cxr_ray.scoring import progress
from cxr_ray.scoring.progress import RateMeter


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: clock[0] seconds."""
    seconds = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: seconds[0])
    return seconds


def test_the_time_before_the_first_images_does_not_count(clock):
    meter = RateMeter()
    assert meter.rate(0) == 0
    clock[0] += 60
    assert meter.rate(32) == 0
    clock[0] += 2
    assert meter.rate(52) == 10
    clock[0] += 2
    assert meter.rate(52) == 5


def test_no_time_between_two_looks(clock):
    meter = RateMeter()
    meter.rate(1)
    assert meter.rate(9) == 0
