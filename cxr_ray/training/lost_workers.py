"""What Ray Train's controller tells the driver about lost workers, and how long it waits for nodes to replace them."""

import time

from ray.actor import ActorHandle
from ray.train import TrainingFailedError, WorkerGroupError
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import (
    InitializingState,
    ReschedulingState,
    RestartingState,
    RunningState,
    TrainControllerState,
)

from cxr_ray.cluster.patience import Patience

LOOK_SECONDS = 1.0
"""Seconds between two looks whether the minimum number of workers fits; Ray would look without a pause."""
LINE_SECONDS = 59.0
"""Seconds between a line and one about waiting."""
WAITING = (InitializingState, RestartingState, ReschedulingState)
"""States in which Ray Train looks whether the minimum number of workers fits."""


class LostWorkers(ControllerCallback):
    """Callback of Ray Train's controller that shows lost workers and waiting, and ends a training that waits too long.

    Ray Train itself waits for other nodes without a word and without an end.

    Args:
        listener: `EpochLog` actor that receives the lines.
        patience: what the training waits for, and how long.
    """

    def __init__(self, listener: ActorHandle, patience: Patience) -> None:
        self._listener, self._patience = listener, patience
        self._last_line = float("-inf")

    def after_controller_state_update(
        self, previous_state: TrainControllerState, current_state: TrainControllerState
    ) -> None:
        """Note the state of the workers, which Ray tells about every two seconds while they run.

        Raises:
            ClusterError: if the training has waited for too long; Ray then ends it.
        """
        if isinstance(current_state, RunningState):
            self._patience.note(is_waiting=False)
        elif isinstance(current_state, WAITING) and type(current_state) is type(previous_state):  # fewer than MIN fit
            self._wait()
            time.sleep(LOOK_SECONDS)
        elif isinstance(current_state, RestartingState):
            self._say(f"{loss_of(current_state.training_failed_error)}; the running epoch is repeated")
            self._patience.note(is_waiting=True)
        elif isinstance(current_state, ReschedulingState):  # the workers that Ray wanted to start did not fit
            self._wait()

    def _wait(self) -> None:
        self._patience.note(is_waiting=True)
        if time.monotonic() - self._last_line >= LINE_SECONDS:
            self._say(self._patience.said())

    def _say(self, line: str) -> None:
        self._listener.add.remote(line)
        self._last_line = time.monotonic()


def loss_of(error: TrainingFailedError) -> str:
    """Say which workers were lost, or the last line of what failed in workers that were not."""
    failures = error.worker_failures if isinstance(error, WorkerGroupError) else {}
    lost = [str(rank) for rank, failure in failures.items() if isinstance(failure, WorkerHealthCheckFailedError)]
    if not lost:  # where workers are lost, the others fail with them, because nobody answers
        return last_line(error)
    return (
        f"worker {lost[0]} of the training was lost"
        if len(lost) == 1
        else f"workers {', '.join(lost)} of the training were lost"
    )


def last_line(error: BaseException) -> str:
    """Last line of the innermost cause of `error`, or the name of its type if it has no message."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split("\n")[-1].split()) or type(error).__name__
