import threading

import pytest
import ray

from cxr_ray.training.epoch_lines import EpochLog, epoch_line, reported_epochs
from cxr_ray.training.epoch_report import EpochReport


def test_an_epoch_on_one_line():
    metrics = {
        "epoch": 3,
        "train_loss": 0.51234,
        "val_loss": 1.0,
        "val_accuracy": 0.87654,
        "val_macro_f1": 0.8,
        "val_auroc": 0.95,
        "images_per_second": 1123.45,
        "seconds": 100.0,
    }
    line_metrics = (("accuracy", "val_accuracy"), ("macro F1", "val_macro_f1"), ("AUROC", "val_auroc"))
    assert epoch_line(metrics, 50, line_metrics) == (
        "epoch   3/50  loss 0.5123  val loss 1.0000  accuracy 0.8765  macro F1 0.8000  AUROC 0.9500  "
        "1,123.5 img/s  1:18:20 left"
    )


def test_a_line_has_the_metrics_that_the_epoch_has():
    metrics = {"epoch": 1, "train_loss": 2.0, "val_loss": 1.0, "recall": 0.25, "images_per_second": 9.0, "seconds": 2.0}
    line = epoch_line(metrics, 2, (("recall@1", "recall"), ("zero-shot", "accuracy")))
    assert line == "epoch   1/2  loss 2.0000  val loss 1.0000  recall@1 0.2500  9.0 img/s  0:00:02 left"


def epochs_of(log):
    return [report.metrics["epoch"] for report in log.since(0)]


def test_an_epoch_whose_worker_was_lost_after_saving_it_is_reported_by_the_next():
    log = EpochLog.__ray_metadata__.modified_class()
    log.begin([{"epoch": 1}])  # of an earlier run, which showed it
    log.add(EpochReport(metrics={"epoch": 2}))
    log.begin([{"epoch": 1}, {"epoch": 2}, {"epoch": 3}])
    log.add(EpochReport(metrics={"epoch": 4}))
    assert epochs_of(log) == [2, 3, 4]


def test_the_first_epoch_of_a_training_is_reported_by_the_next_worker_too():
    log = EpochLog.__ray_metadata__.modified_class()
    log.begin([])
    log.begin([{"epoch": 1}])
    log.begin([{"epoch": 1}])
    assert epochs_of(log) == [1]


@pytest.mark.cluster
def test_a_figure_that_cannot_be_drawn_costs_no_later_line(ray_cluster):
    shown, both = [], threading.Event()

    def on_epoch(report):
        if report == "first":
            raise ValueError("cannot draw\nthis")
        shown.append(report)
        both.set()

    with reported_epochs(on_epoch) as listener:
        ray.get(listener.add.remote("first"))
        ray.get(listener.add.remote("second"))
        assert both.wait(60)
    assert shown == ["second"]
