import pytest

from cxr_ray import errors

CODES = {"ConfigError": 2, "GateError": 3}
OURS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.CxrRayError)]


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.__name__)
def test_every_failure_that_a_user_can_fix_has_its_exit_code(kind):
    assert kind.exit_code == CODES.get(kind.__name__, 1)
