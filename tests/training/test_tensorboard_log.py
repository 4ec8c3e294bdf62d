import fsspec
import numpy as np
import pytest

from cxr_ray.training.epoch_report import EpochReport, Mistake
from cxr_ray.training.tensorboard_log import TensorBoardLog

LABELS = ("COVID", "Lung_Opacity")


def report(epoch, accuracy):
    mistake = Mistake(pixels=np.zeros((16, 16), np.uint8), truth=0, predicted=1, confidence=0.9)
    metrics = {"epoch": epoch, "train_loss": 1.5 / epoch, "val_accuracy": accuracy, "learning_rate": 1e-3}
    return EpochReport(metrics=metrics, confusion=np.array([[3, 1], [0, 4]]), mistakes=[mistake] * 5)


def events_of(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder)).Reload()


@pytest.mark.slow
def test_every_epoch_is_there_as_soon_as_it_was_added(tmp_path):
    board = TensorBoardLog(str(tmp_path / "logs"), LABELS, first_epoch=1)
    for epoch, accuracy in ((1, 0.5), (2, 0.75)):
        board.add(report(epoch, accuracy))
        found = [(event.step, event.value) for event in events_of(tmp_path / "logs").Scalars("val/accuracy")]
        assert found[-1] == (epoch, pytest.approx(accuracy))
    board.close()
    events = events_of(tmp_path / "logs")
    assert set(events.Tags()["scalars"]) == {"train/loss", "val/accuracy", "learning_rate"}
    assert set(events.Tags()["images"]) == {"val/confusion", "val/mistakes"}
    assert all(len(events.Images(tag)) == 2 for tag in ("val/confusion", "val/mistakes"))


@pytest.mark.slow
def test_a_resumed_training_continues_its_curves_and_one_that_starts_over_does_not(tmp_path):
    for first, epochs in ((1, (1, 2, 3)), (3, (3, 4))):
        board = TensorBoardLog(str(tmp_path), LABELS, first_epoch=first)
        for epoch in epochs:
            board.add(report(epoch, 0.1 * epoch))
        board.close()
    assert [event.step for event in events_of(tmp_path).Scalars("val/accuracy")] == [1, 2, 3, 4]
    board = TensorBoardLog(str(tmp_path), LABELS, first_epoch=1)
    board.add(report(1, 0.5))
    board.close()
    assert [event.step for event in events_of(tmp_path).Scalars("val/accuracy")] == [1]


def test_any_storage():
    board = TensorBoardLog("memory://tensorboard/run", LABELS, first_epoch=1)
    board.add(report(1, 0.5))
    board.close()
    (name,) = fsspec.filesystem("memory").ls("/tensorboard/run", detail=False)
    assert "events.out.tfevents" in name


def test_an_epoch_without_classes_is_scalars_alone(tmp_path):
    board = TensorBoardLog(str(tmp_path), (), first_epoch=1)
    board.add(EpochReport(metrics={"epoch": 1, "val_recall_at_1": 0.5}))
    board.close()
    tags = events_of(tmp_path).Tags()
    assert (tags["scalars"], tags["images"]) == (["val/recall_at_1"], [])
