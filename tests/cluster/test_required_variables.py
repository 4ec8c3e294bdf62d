"""Tests of the check of a cluster's variables; test_submit_job.py runs it on the nodes of a cluster."""

import pytest

from cxr_ray.cluster.required_variables import check_variables
from cxr_ray.errors import ClusterError


def test_variables_of_the_driver_are_looked_up_here(monkeypatch):
    monkeypatch.setenv("CXR_HERE", "hush")
    monkeypatch.setenv("CXR_EMPTY", "")
    check_variables(["CXR_HERE"])
    with pytest.raises(ClusterError, match=r"^not set: CXR_EMPTY, CXR_NONE on the node of the driver; ") as error:
        check_variables(["CXR_HERE", "CXR_EMPTY", "CXR_NONE"])
    assert "hush" not in str(error.value)
