"""Each epoch's line is shown when the epoch ends, even if its TensorBoard files cannot be written."""

import time

import pytest
import ray

from cxr_ray.training.epoch_report import EpochReport
from cxr_ray.training.ray_training import epochs_reported


@pytest.mark.cluster
def test_storage_that_fails_for_a_while_costs_no_line_and_a_few_curves(ray_cluster, tmp_path):
    in_the_way = tmp_path / "model"
    in_the_way.write_text("no folder")
    shown = []

    def end_epoch(epoch):
        ray.get(listener.add.remote(EpochReport(metrics={"epoch": epoch, "val_loss": 1.0})))
        deadline = time.monotonic() + 60
        while shown[-1:] != [epoch] and time.monotonic() < deadline:
            time.sleep(0.05)

    with epochs_reported(str(in_the_way), (), lambda metrics: shown.append(metrics["epoch"])) as listener:
        end_epoch(1)
        end_epoch(2)  # when the line of epoch 2 is shown, writing epoch 1 has failed
        in_the_way.unlink()
        end_epoch(3)
    assert shown == [1, 2, 3]
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(in_the_way / "tensorboard")).Reload()
    steps = [event.step for event in events.Scalars("val/loss")]
    assert 1 not in steps
    assert steps[-1] == 3
