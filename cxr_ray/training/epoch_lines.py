"""Epochs on the terminal as they end, wherever the workers run."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.actor import ActorHandle


@ray.remote(num_cpus=0)
class EpochLog:
    """Collects the metrics of every epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, Any]] = []

    def add(self, metrics: dict[str, Any]) -> None:
        """Take the metrics of one epoch."""
        self.epochs.append(metrics)

    def since(self, seen: int) -> list[dict[str, Any]]:
        """Epochs after the first `seen`."""
        return self.epochs[seen:]


@contextmanager
def printed_epochs(total: int) -> Iterator[ActorHandle]:
    """An `EpochLog` whose entries are printed until the block ends."""
    epoch_log = EpochLog.remote()  # type: ignore[attr-defined]
    stop = threading.Event()
    thread = threading.Thread(target=_print_epochs, args=(epoch_log, total, stop), name="epochs", daemon=True)
    thread.start()
    try:
        yield epoch_log
    finally:
        stop.set()
        thread.join(timeout=5)


def _print_epochs(epoch_log: ActorHandle, total: int, stop: threading.Event) -> None:
    seen, ending = 0, False
    while not ending:
        ending = stop.wait(1.0)
        for metrics in ray.get(epoch_log.since.remote(seen)):
            seen += 1
            print(epoch_line(metrics, total), flush=True)


def epoch_line(metrics: dict[str, Any], total: int) -> str:
    """One line: losses, validation figures, speed."""
    return (
        f"epoch {metrics['epoch']:>3}/{total}  loss {metrics['train_loss']:.4f}  val loss {metrics['val_loss']:.4f}  "
        f"accuracy {metrics['val_accuracy']:.4f}  macro F1 {metrics['val_macro_f1']:.4f}  "
        f"{metrics['images_per_second']:.1f} img/s"
    )
