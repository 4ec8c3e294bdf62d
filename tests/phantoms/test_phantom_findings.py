import numpy as np
import pytest

from cxr_ray.phantoms.phantom_findings import PHANTOM_FINDINGS, draw_findings


@pytest.mark.parametrize("finding", PHANTOM_FINDINGS)
def test_a_finding_makes_its_own_place_brighter_and_changes_nothing_else(finding):
    plain, other = draw_findings([], seed=3, size=64), draw_findings([finding], seed=3, size=64)
    changed = other.astype(int) - plain
    assert changed.max() > 40
    assert (np.abs(changed) > 3).mean() < 0.35


def test_findings_are_independent_of_each_other():
    both, one = (
        draw_findings(PHANTOM_FINDINGS[1:], seed=5, size=64),
        draw_findings(PHANTOM_FINDINGS[2:], seed=5, size=64),
    )
    mass = draw_findings(PHANTOM_FINDINGS[1:2], seed=5, size=64).astype(int) - draw_findings([], seed=5, size=64) > 20
    assert (both.astype(int) - one)[mass].mean() > 15
    assert np.abs(both.astype(int) - one)[~mass].mean() < 4


def test_the_same_arguments_give_the_same_picture():
    assert (draw_findings(["mass"], seed=1, size=48) == draw_findings({"mass"}, seed=1, size=48)).all()
    assert (draw_findings(["mass"], seed=1, size=48) != draw_findings(["mass"], seed=2, size=48)).any()


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match="findings must be among pleural_effusion, mass, support_devices; got nodule"):
        draw_findings(["nodule"], seed=0)
    with pytest.raises(ValueError, match="size must be >= 32 pixels; got 31"):
        draw_findings([], seed=0, size=31)
