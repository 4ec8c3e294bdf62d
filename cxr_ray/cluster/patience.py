"""How long a job waits for nodes: it says what it waits for and since when, and ends with one line after a time."""

import time

from cxr_ray.errors import ClusterError


class Patience:
    """The time for which a job may wait for CPUs or GPUs before it ends.

    Args:
        minutes: minutes after which waiting ends the job.
        wanted: what the job waits for, such as `1 GPU`.
        fix: what a user can do if it does not come.
    """

    def __init__(self, minutes: float, *, wanted: str, fix: str) -> None:
        self._minutes, self._wanted, self._fix = minutes, wanted, fix
        self._since: float | None = None

    def note(self, *, is_waiting: bool) -> None:
        """Note whether the job waits at this moment.

        Raises:
            ClusterError: if it has waited for too long.
        """
        if not is_waiting:
            self._since = None
            return
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        if now - self._since > self._minutes * 60:
            raise ClusterError(
                f"the job waited {self._minutes:g} min for {self._wanted}, and no node brought it; {self._fix}, or wait "
                "longer with --max-wait-minutes; the same command continues"
            )

    def said(self) -> str:
        """Say what the job waits for and for how long, such as `waiting for 1 GPU: 4 min`; nothing if it does not wait."""
        if self._since is None:
            return ""
        seconds = time.monotonic() - self._since
        return f"waiting for {self._wanted}: " + (f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s")


def amount(cpus: float, gpus: float) -> str:
    """Name CPUs and GPUs in a sentence, such as `2 GPUs` or `0.5 GPU`; CPUs are named only where no GPU is wanted."""
    number, unit = (gpus, "GPU") if gpus else (cpus, "CPU")
    return f"{number:g} {unit}{'s' if number > 1 else ''}"
