"""Progress of a training: the best epoch, the epochs since the lowest loss, and the content of a checkpoint."""

import math
from pathlib import Path

import torch

from cxr_ray.training.training_state import BestBundle, Progress, checkpoint_of, read_state


def epoch(number, *, accuracy=0.5, loss=1.0, **others):
    return {"epoch": number, "val_accuracy": accuracy, "val_loss": loss} | others


def test_the_best_epoch_is_the_most_accurate_and_among_equals_that_of_the_lower_loss():
    progress = Progress()
    is_best = [
        progress.add(epoch(1, accuracy=0.5, loss=2.0)),
        progress.add(epoch(2, accuracy=0.6, loss=3.0)),  # more accurate, though its loss is higher
        progress.add(epoch(3, accuracy=0.6, loss=3.0)),  # no better
        progress.add(epoch(4, accuracy=0.6, loss=2.5)),
        progress.add(epoch(5, accuracy=0.59, loss=1.0)),
    ]
    assert is_best == [True, True, False, True, False]
    assert progress.epoch == 5
    assert [metrics["epoch"] for metrics in progress.history] == [1, 2, 3, 4, 5]


def test_epochs_are_counted_since_the_best_of_any_metric():
    progress, since, since_accuracy = Progress(), [], []
    assert progress.epochs_since_best() == 0
    for number, (loss, accuracy) in enumerate(
        [(3, 0.1), (2, 0.3), (2, 0.2), (2.5, 0.3), (1.9, 0.4), (2, 0.1)], start=1
    ):
        progress.add(epoch(number, loss=loss, accuracy=accuracy))
        since.append(progress.epochs_since_best())
        since_accuracy.append(progress.epochs_since_best("val_accuracy"))
    assert since == [0, 0, 1, 2, 0, 1]
    assert since_accuracy == [0, 0, 1, 2, 0, 1]


def test_the_loss_may_choose_the_best_epoch():
    progress = Progress()
    found = [progress.add(epoch(n, accuracy=n / 9, loss=loss), "val_loss") for n, loss in enumerate([2.0, 3.0, 1.0], 1)]
    assert found == [True, False, True]


def test_a_metric_that_is_unknown_is_the_worst_and_the_first_epoch_is_saved_all_the_same():
    progress = Progress()
    assert progress.add(epoch(1, auroc=math.nan), "auroc")
    assert progress.add(epoch(2, auroc=0.1), "auroc")
    assert not progress.add(epoch(3, auroc=math.nan), "auroc")
    assert progress.epochs_since_best("auroc") == 1


def test_a_training_may_be_judged_by_another_metric():
    progress = Progress()
    assert progress.add(epoch(1, accuracy=0.9, members=0), "members")
    assert progress.add(epoch(2, accuracy=0.1, members=3), "members")
    assert not progress.add(epoch(3, accuracy=1.0, members=0), "members")


def test_the_first_epoch_is_the_best_so_far_even_where_nothing_is_right():
    assert Progress().add(epoch(1, accuracy=0.0, loss=50.0))


def test_a_checkpoint_brings_back_progress_weights_and_the_best_bundle():
    progress, best = Progress(), BestBundle()
    progress.add(epoch(1, accuracy=0.7, loss=0.4))
    best.path.mkdir()
    (best.path / "card.json").write_text("{}")
    state = {"weights": torch.arange(3.0), "step": 7}
    with checkpoint_of(progress, state, best) as checkpoint:
        folder = Path(checkpoint.path)
        restored, found = read_state(folder)
        again = BestBundle()
        again.restore(folder)
    assert restored == progress
    assert found["weights"].equal(state["weights"])
    assert found["step"] == 7
    assert (again.path / "card.json").read_text() == "{}"
    assert not folder.exists(), "the folder is deleted, because Ray Train has copied it"
