import fsspec
import pytest

from cxr_ray.training.tensorboard_log import write_tensorboard

HISTORY = [
    {"epoch": 1, "train_loss": 1.5, "val_loss": 1.25, "val_accuracy": 0.5, "learning_rate": 1e-3},
    {"epoch": 2, "train_loss": 0.75, "val_loss": 0.5, "val_accuracy": 0.875, "learning_rate": 5e-4},
]


def test_every_metric_of_every_epoch_is_a_scalar(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    write_tensorboard(HISTORY, str(tmp_path / "logs"))
    events = EventAccumulator(str(tmp_path / "logs")).Reload()
    assert set(events.Tags()["scalars"]) == {"train/loss", "val/loss", "val/accuracy", "learning_rate"}
    for tag, name in {"train/loss": "train_loss", "val/accuracy": "val_accuracy"}.items():
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert found == [(1, pytest.approx(HISTORY[0][name])), (2, pytest.approx(HISTORY[1][name]))]


def test_any_storage():
    write_tensorboard(HISTORY, "memory://tensorboard/run")
    (name,) = fsspec.filesystem("memory").ls("/tensorboard/run", detail=False)
    assert "events.out.tfevents" in name
