"""The job server of a Ray cluster: connecting to it, and waiting for the cluster's nodes."""

import logging
import os
import time
from typing import TYPE_CHECKING

from cxr_ray.config.redaction import redacted
from cxr_ray.errors import ClusterError, ConfigError

if TYPE_CHECKING:
    from ray.job_submission import JobSubmissionClient

REQUEST_TIMEOUT_S = 60
"""Seconds without an answer after which a request counts as failed."""
WAIT_S = 5.0
"""Seconds between two looks at the nodes of a cluster."""
LINE_S = 30.0
"""Seconds between two lines about waiting."""

log = logging.getLogger("cxr_ray")


def server_address() -> str:
    """Address of the job server, which `RAY_ADDRESS` names.

    Raises:
        ConfigError: if it names none.
    """
    address = os.environ.get("RAY_ADDRESS", "")
    if not address.startswith(("http://", "https://")):
        raise ConfigError(
            f"submit.py needs the address of a cluster's job server, RAY_ADDRESS=http://HEAD_HOST:8265; got "
            f"{redacted(address)!r}"
        )
    return address


def connected(address: str) -> "JobSubmissionClient":
    """Connect to a job server, with the token of `RAY_AUTH_MODE=token`.

    Raises:
        ClusterError: if the server does not answer, refuses the token, or is none of Ray's.
    """
    import requests
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    class Client(JobSubmissionClient):
        """A client that does not wait for ever for an answer."""

        def _do_request(self, method: str, endpoint: str, **options: object) -> requests.Response:
            return super()._do_request(method, endpoint, **({"timeout": REQUEST_TIMEOUT_S} | options))

    for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env"):
        logging.getLogger(name).setLevel(logging.ERROR)  # a line for each upload and each connection
    try:
        return Client(address)
    except AuthenticationError as error:
        raise refused() from error
    except ConnectionError as error:
        raise ClusterError(
            f"no job server answers at RAY_ADDRESS={redacted(address)}; start the cluster, or correct the address"
        ) from error
    except (OSError, RuntimeError) as error:  # OSError: also every error of requests
        raise ClusterError(
            f"what answers at RAY_ADDRESS={redacted(address)} is no job server of Ray ({one_line(error)}); correct the address"
        ) from error


def refused() -> ClusterError:
    """The error of a cluster that asks for another token, or of a machine that has none, with the fix."""
    return ClusterError(
        "the cluster needs a token, and this machine's is missing or another one; set RAY_AUTH_MODE=token, and put the "
        "cluster's token at ~/.ray/auth_token, or name its file in RAY_AUTH_TOKEN_PATH"
    )


def one_line(error: BaseException | str) -> str:
    """Text of an error, in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300]


def wait_for_nodes(address: str, number: int, minutes: float) -> None:
    """Wait until a cluster has enough nodes that are alive; a cluster that does not answer yet has none.

    Args:
        address: address of the job server.
        number: minimum number of nodes, the head included.
        minutes: maximum time to wait.

    Raises:
        ClusterError: if they are not there in time, or the cluster refuses the token.
    """
    start = time.monotonic()
    shown = -LINE_S
    while (alive := _alive_nodes(address)) < number:
        waited = time.monotonic() - start
        if waited > 60 * minutes:
            raise ClusterError(
                f"{alive} of {number} nodes are alive after {minutes:g} min; add nodes, wait longer with --wait-minutes, or ask "
                "for fewer with --wait-for-nodes"
            )
        if waited - shown >= LINE_S:
            log.info("waiting for %d nodes: %d alive, %.0f of %g min", number, alive, waited / 60, minutes)
            shown = waited
        time.sleep(WAIT_S)


def _alive_nodes(address: str) -> int:
    """Number of nodes that are alive; 0 if the cluster does not answer."""
    from ray.exceptions import AuthenticationError
    from ray.util.state import list_nodes
    from ray.util.state.exception import RayStateApiException

    try:
        return len(list_nodes(address=address, filters=[("state", "=", "ALIVE")], limit=10_000, timeout=10))
    except AuthenticationError as error:
        raise refused() from error
    except (OSError, RayStateApiException):
        return 0
