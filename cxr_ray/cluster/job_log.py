"""The log of a submitted job, followed line by line until the job ends, over connections that break."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable
from typing import TYPE_CHECKING

from cxr_ray.cluster.job_server import one_line, refused
from cxr_ray.config.redaction import redacted
from cxr_ray.errors import ClusterError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

SILENCE_S = 300.0
"""Seconds without a line after which the connection is made again: some networks drop an idle one without a word."""
PATIENCE_S = 600.0
"""Seconds for which a cluster may be out of reach before the job is no longer followed."""
AGAIN_S = 3.0
"""Seconds before a connection that broke is made again."""
LAST_READS = 3
"""How often the log of a job that has ended is read if it cannot be read to its end."""

log = logging.getLogger("cxr_ray")


class PrintedLog:
    """Prints a log that is sent again from its beginning after each break, and prints each line once.

    Args:
        show: function that prints one line without its end.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._seen = 0
        self._rest = ""

    async def read(self, chunks: AsyncGenerator[str, None]) -> None:
        """Print what is new in a log, whose chunks begin with the log's first character.

        Raises:
            TimeoutError: if there is no chunk for `SILENCE_S` seconds.
        """
        position = 0
        async with contextlib.aclosing(chunks):
            while True:
                try:
                    chunk = await asyncio.wait_for(anext(chunks), SILENCE_S)
                except StopAsyncIteration:
                    return
                new = chunk[max(0, self._seen - position) :]
                position += len(chunk)
                self._seen = max(self._seen, position)
                *lines, self._rest = (self._rest + new).split("\n")
                for line in lines:
                    self._show(line)

    def end(self) -> None:
        """Print a last line that does not end."""
        if self._rest:
            self._show(self._rest)
            self._rest = ""


def follow(client: "JobSubmissionClient", submission_id: str) -> "JobDetails":
    """Print the log of a job, without secrets, until the job ends.

    Returns:
        What the cluster knows of the job after its end.

    Raises:
        ClusterError: if the cluster is out of reach for `PATIENCE_S` seconds, or no longer knows the job.
    """
    return asyncio.run(_follow(client, submission_id))


async def _follow(client: "JobSubmissionClient", submission_id: str) -> "JobDetails":
    printed = PrintedLog(lambda line: print(redacted(line), flush=True))
    answered = time.monotonic()
    last_reads = 0
    while True:
        is_whole = await _is_read(printed, client.tail_job_logs(submission_id))
        details = _details(client, submission_id)
        if details is not None:
            answered = time.monotonic()
            if details.status.is_terminal():
                last_reads += 1
                if is_whole or last_reads == LAST_READS:
                    break
        elif time.monotonic() - answered > PATIENCE_S:
            raise ClusterError(
                f"the cluster is out of reach for {PATIENCE_S / 60:.0f} min, and {submission_id} may still run; the same command "
                "follows it again"
            )
        await asyncio.sleep(AGAIN_S)
    printed.end()
    if not is_whole:
        log.warning("the log of %s could not be read to its end", submission_id)
    return details


async def _is_read(printed: PrintedLog, chunks: AsyncGenerator[str, None]) -> bool:
    """Whether the log was read until the server closed it; a connection that breaks is not an error."""
    import aiohttp

    try:
        await printed.read(chunks)
    except TimeoutError:
        return False
    except (aiohttp.ClientError, OSError, RuntimeError) as error:  # RuntimeError: Ray's, of a connection that broke
        log.warning("the connection to the log broke (%s); trying again, and the job goes on", one_line(error))
        return False
    return True


def _details(client: "JobSubmissionClient", submission_id: str) -> "JobDetails | None":
    """What the cluster knows of a job; None if it does not answer."""
    from ray.exceptions import AuthenticationError

    try:
        return client.get_job_info(submission_id)
    except AuthenticationError as error:
        raise refused() from error
    except OSError:  # every error of requests
        return None
    except RuntimeError as error:
        if "status code 404" not in str(error):
            return None
        raise ClusterError(
            f"the cluster no longer knows {submission_id}: its head was started again; the same command submits the job again"
        ) from error
