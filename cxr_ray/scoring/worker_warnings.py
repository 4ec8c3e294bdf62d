"""Warnings of a run's workers, which reach the terminal through the tally, each line once."""

import logging

from ray.actor import ActorHandle


class TallyHandler(logging.Handler):
    """Sends warnings of the logger `cxr_ray` in this process to a tally; Ray would only write them to a file of its own."""

    def __init__(self, tally: ActorHandle) -> None:
        super().__init__(logging.WARNING)
        self._tally = tally

    def emit(self, record: logging.LogRecord) -> None:
        """Send the message of a record."""
        self._tally.warn.remote(record.getMessage())


def tell_warnings(tally: ActorHandle) -> None:
    """Send what this process warns of from now on to `tally`."""
    logging.getLogger("cxr_ray").addHandler(TallyHandler(tally))
