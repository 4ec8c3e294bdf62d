import numpy as np
import pyarrow as pa
import pytest
import torch

from cxr_ray.config import TrainClassifierConfig
from cxr_ray.training import optimization
from cxr_ray.training.cached_feed import CachedFeed, PixelCache
from cxr_ray.training.classifier.learner import ClassifierLearner
from cxr_ray.training.classifier.loop import run_epoch
from cxr_ray.training.classifier.one_class import OneClassObjective
from cxr_ray.training.classifier.task import ClassifierTask
from cxr_ray.training.worker_context import WorkerContext

EPOCHS, SIZE = 3, 32


def epochs_of(**options):
    """Run the epochs of a small training and yield the result of each; only the head learns, which is quick."""
    config = TrainClassifierConfig(
        dataset_uri="d", output_uri="o", image_size=SIZE, batch_size=4, epochs=EPOCHS, freeze_epochs=EPOCHS, flip=0.0,
        precision="fp32", scale_learning_rate=False, weight_decay=0.0, **options,
    )  # fmt: skip
    targets = {"train": np.arange(8) % 2, "val": np.arange(4) % 2}
    task = ClassifierTask(
        config=config, objective=OneClassObjective(config, pa.table({"label": ["a", "b"]})), targets=targets, cached={}, dataset_fingerprint="f", threads=1,
        listener=None,
    )  # fmt: skip
    torch.manual_seed(0)
    context = WorkerContext(rank=0, world_size=1, device=torch.device("cpu"))
    learner = ClassifierLearner(config, classes=2, class_weights=torch.ones(2), context=context)
    feeds = {}
    for split, of_split in targets.items():
        pixels = np.broadcast_to((60 + 120 * of_split).astype(np.uint8)[:, None, None], (len(of_split), SIZE, SIZE))
        feeds[split] = CachedFeed(PixelCache([pixels]), context, 4)
    for epoch in range(1, EPOCHS + 1):
        yield run_epoch(task, learner, feeds, epoch)


@pytest.fixture(autouse=True)
def one_thread():
    """Use one thread, because several would wait for each other longer than they compute on batches this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
def test_the_plateau_schedule_judges_every_epoch_by_its_validation_loss(monkeypatch):
    """A rate of 1e-6 changes no loss, so with a patience of 0 the rate is halved after the second epoch."""
    monkeypatch.setattr(optimization, "PLATEAU_PATIENCE", 0)
    rates = [e.report.metrics["learning_rate"] for e in epochs_of(schedule="plateau", learning_rate=1e-6)]
    assert rates == [1e-6, 1e-6, 5e-7]


def test_an_epoch_whose_loss_is_no_finite_number_has_no_result():
    assert None in epochs_of(learning_rate=1e38, gradient_clip=0.0)
