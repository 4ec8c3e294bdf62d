"""Tests of the address of the job server, and of one that does not answer; test_submit_job.py has one that does."""

import logging
import socket

import pytest

from cxr_ray.cluster.job_server import connected, server_address, wait_for_nodes
from cxr_ray.errors import ClusterError, ConfigError


@pytest.fixture
def nobody(monkeypatch):
    """Address at which nothing listens, and which no other program gets during the test."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
        yield address


@pytest.mark.parametrize("address", [None, "", "auto", "head:6379", "ray://head:10001"])
def test_only_the_address_of_a_job_server_will_do(address, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if address is not None:
        monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=rf"RAY_ADDRESS=http://HEAD_HOST:8265; got '{address or ''}'"):
        server_address()


def test_a_server_that_does_not_answer_is_one_line(nobody):
    with pytest.raises(ClusterError, match=f"^no job server answers at RAY_ADDRESS={nobody}; start the cluster"):
        connected(nobody)


def test_waiting_for_nodes_is_bounded_and_shown(nobody, monkeypatch, caplog):
    monkeypatch.setattr("cxr_ray.cluster.job_server.WAIT_S", 0.1)
    caplog.set_level(logging.INFO, "cxr_ray")
    with pytest.raises(ClusterError, match=r"^0 of 2 nodes are alive after 0.01 min; add nodes, "):
        wait_for_nodes(nobody, 2, 0.01)
    assert "waiting for 2 nodes: 0 alive, 0 of 0.01 min" in caplog.text
