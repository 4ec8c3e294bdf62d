"""Training of a classifier on a real Ray cluster: what it learns, writes and refuses."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from ray._private import state

from cxr_ray.archive.output_lock import output_lock
from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.config import TrainClassifierConfig
from cxr_ray.config.identity import WorkIdentity
from cxr_ray.errors import ClusterError, ConfigError, DatasetError, ResumeError, StorageError, TrainingError
from cxr_ray.models.bundle import read_card
from cxr_ray.models.classifier import Classifier
from cxr_ray.training import ray_training
from cxr_ray.training.classifier.sweep import sweep_classifiers
from cxr_ray.training.classifier.train_classifier import train_classifier
from cxr_ray.training.training_output import TrainingOutput
from tests.training.small_trainings import saved_progress, write_squares

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

JOB = Path(__file__).parents[3] / "jobs/train_classifier.py"
OPTIONS = {"backbone": "densenet121", "image_size": 32, "epochs": 6, "batch_size": 16}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Table of 96 noisy squares: dark ones have the label `Normal`, bright ones `COVID`."""
    return write_squares(tmp_path_factory.mktemp("squares"))


def train(dataset, output, **options):
    return train_classifier(TrainClassifierConfig(dataset_uri=dataset, output_uri=str(output), **OPTIONS | options))


def history_of(output):
    return read_table(f"{output}/history.parquet")


@pytest.fixture(scope="module")
def one_worker(ray_cluster, dataset, tmp_path_factory):
    """Output of a training by one worker without interruption."""
    output = tmp_path_factory.mktemp("one")
    train(dataset, output)
    return output


@pytest.fixture(scope="module")
def two_workers(ray_cluster, dataset, tmp_path_factory):
    """Output of a training by two workers without interruption."""
    output = tmp_path_factory.mktemp("two")
    train(dataset, output, num_workers=2, batch_size=8)
    return output


def assert_same_training(output, undisturbed):
    """Check that the metrics of every epoch are equal within noise, and that the history holds every epoch once."""
    found, expected = history_of(output), history_of(undisturbed)
    assert found["epoch"].to_pylist() == expected["epoch"].to_pylist()
    for name in ("train_loss", "val_loss", "val_accuracy"):
        np.testing.assert_allclose(found[name].to_numpy(), expected[name].to_numpy(), rtol=2e-2, atol=2e-2)
    assert read_card(str(output)).metrics["epoch"] == read_card(str(undisturbed)).metrics["epoch"]


def test_a_learnable_task_is_learned_and_everything_is_written(one_worker, dataset):
    card = read_card(str(one_worker))
    assert card.labels == ("COVID", "Normal")
    assert card.metrics["val_accuracy"] >= 0.9
    assert 0 < card.temperature < 20
    history = history_of(one_worker).to_pylist()
    assert [epoch["epoch"] for epoch in history] == list(range(1, 7))
    assert history[card.metrics["epoch"] - 1]["val_accuracy"] == max(e["val_accuracy"] for e in history)
    assert {"val_recall_COVID", "val_auroc", "seconds"} <= history[0].keys()
    assert list((one_worker / "tensorboard").iterdir())
    assert not (one_worker / "_state" / "train").exists()
    assert json.loads((one_worker / "run.json").read_text())["model_id"] == card.model_id
    test_rows = [row for row in read_table(dataset).to_pylist() if row["split"] == "test"]
    pixels = np.stack([np.asarray(Image.open(row["uri"])) for row in test_rows])
    predicted = Classifier(str(one_worker)).predict(pixels).argmax(1)
    assert np.mean([card.labels[p] == row["label"] for p, row in zip(predicted, test_rows, strict=True)]) >= 0.9


def test_the_same_command_again_trains_nothing_and_another_is_refused(one_worker, dataset, capsys):
    before = read_card(str(one_worker))
    assert train(dataset, one_worker) == before
    assert "was trained by this command before" in capsys.readouterr().out
    with pytest.raises(
        ResumeError, match="holds a training made with epochs 6; this command has epochs 2; choose another"
    ):
        train(dataset, one_worker, epochs=2)


def test_two_workers_train_one_model_with_the_metrics_of_one(one_worker, two_workers):
    assert read_card(str(two_workers)).metrics["val_accuracy"] >= 0.9
    one, two = history_of(one_worker), history_of(two_workers)
    assert set(two["workers"].to_pylist()) == {2}
    assert two["val_loss"].to_pylist()[-1] == pytest.approx(one["val_loss"].to_pylist()[-1], abs=0.1)


@pytest.mark.gpu
@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two GPUs")
def test_two_gpus_of_a_node_train_one_model_with_the_metrics_of_a_cpu(one_worker, dataset, tmp_path):
    card = train(dataset, tmp_path, num_workers=2, batch_size=8, use_gpu=True)
    assert card.metrics["val_accuracy"] >= 0.9
    cpu, gpus = history_of(one_worker), history_of(tmp_path)
    assert set(gpus["workers"].to_pylist()) == {2}
    assert gpus["val_loss"].to_pylist()[-1] == pytest.approx(cpu["val_loss"].to_pylist()[-1], abs=0.1)


def test_two_workers_learn_from_a_stream(ray_cluster, dataset, tmp_path):
    card = train(dataset, tmp_path, num_workers=2, batch_size=8, feed="stream", epochs=2)
    assert card.metrics["val_auroc"] >= 0.8
    with pytest.raises(
        ClusterError, match=r"1\.\.4 on CPUs could leave no CPU to decode the stream; give one number, such as"
    ):
        train(dataset, tmp_path / "elastic", num_workers="1..4", feed="stream")


def test_drawing_by_class_from_a_stream_is_refused_also_where_the_stream_was_not_asked_for(
    ray_cluster, dataset, tmp_path
):
    with pytest.raises(
        ConfigError, match=r"class_balance sampling draws from images in memory, and 80 images of 32768 px"
    ):
        train(dataset, tmp_path, image_size=2**15, class_balance="sampling")


def test_a_worker_killed_in_mid_epoch_costs_that_epoch_only(two_workers, dataset, tmp_path):
    """Ray Train restarts the workers, and the result is that of a training without interruption."""
    with ThreadPoolExecutor() as threads:
        killer = threads.submit(kill_worker_after_epoch, tmp_path, 2)
        train(dataset, tmp_path, num_workers=2, batch_size=8)
        killer.result()
    assert_same_training(tmp_path, two_workers)


def kill_worker_after_epoch(output, epochs):
    """Kill one training worker with SIGKILL as soon as `epochs` epochs are saved."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and saved_progress(output).epoch < epochs:
        time.sleep(0.05)
    os.kill(own_training_workers()[0], signal.SIGKILL)


def own_training_workers():
    """Process ids of the training workers of this process's cluster."""
    actors = state.actors().values()
    return [
        actor["Pid"] for actor in actors if "RayTrainWorker" in actor["ActorClassName"] and actor["State"] == "ALIVE"
    ]


def test_more_workers_than_the_cluster_holds_are_refused_at_once(ray_cluster, dataset, tmp_path):
    with pytest.raises(ClusterError, match="--num-workers 5 needs 5 CPUs and the cluster has 2"):
        train(dataset, tmp_path, num_workers=5)
    with pytest.raises(ClusterError, match="needs 1 GPUs and the cluster has 0"):
        train(dataset, tmp_path, use_gpu=True)


def test_an_image_that_vanished_is_named(ray_cluster, dataset, tmp_path):
    table = read_table(dataset)
    rows = table.to_pylist()
    rows[0]["uri"] = str(tmp_path / "gone.png")
    write_table(pa.Table.from_pylist(rows, schema=table.schema), str(tmp_path / "dataset.parquet"))
    with pytest.raises(DatasetError, match=r"cannot train on 0.png: no object at .*gone.png"):
        train(str(tmp_path / "dataset.parquet"), tmp_path / "model")


def test_a_training_that_ended_before_its_bundle_was_written_writes_it_and_trains_nothing(
    ray_cluster, dataset, tmp_path, monkeypatch, capsys
):
    def fail(*_):
        raise StorageError("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(ray_training, "publish", fail)
        with pytest.raises(StorageError, match="the disk is full"):
            train(dataset, tmp_path, epochs=2)
    assert saved_progress(tmp_path).epoch == 2
    capsys.readouterr()
    card = train(dataset, tmp_path, epochs=2)
    assert "epoch   " not in capsys.readouterr().out
    assert history_of(tmp_path)["epoch"].to_pylist() == [1, 2]
    assert read_card(str(tmp_path)) == card
    assert not (tmp_path / "_state/train").exists()


def test_a_second_training_of_an_output_is_refused_before_it_does_anything(ray_cluster, dataset, tmp_path):
    message = r"^run first on .* is writing to .*; wait until it ends, stop it, or"
    with output_lock(TrainingOutput(str(tmp_path), WorkIdentity(values={})), "first"):
        with pytest.raises(ResumeError, match=message):
            train(dataset, tmp_path)
        with pytest.raises(ResumeError, match=message):
            train(dataset, tmp_path, overwrite=True)
    assert not (tmp_path / "training.json").exists()


def test_a_killed_driver_and_its_cluster_lose_no_finished_epoch(one_worker, dataset, tmp_path):
    """A killed driver ends the cluster that it started; the same command resumes the training on a new cluster."""
    flags = [part for name, value in OPTIONS.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    command = [sys.executable, str(JOB), "--dataset-uri", dataset, "--output-uri", str(tmp_path), *flags]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    while saved_progress(tmp_path).epoch < 2:
        assert driver.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    done = saved_progress(tmp_path).epoch
    assert 2 <= done < OPTIONS["epochs"]
    again = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert again.returncode == 0, again.stderr
    trained_again = [int(epoch) for epoch in re.findall(r"^epoch +(\d+)/6", again.stdout, re.MULTILINE)]
    assert all(epoch > done for epoch in trained_again), (
        "workers that outlive the driver may finish one more epoch, but no finished epoch is lost"
    )
    assert_same_training(tmp_path, one_worker)


def test_weights_of_another_training_are_a_start_for_elastic_workers(one_worker, dataset, tmp_path):
    options = {"epochs": 1, "learning_rate": 1e-6, "freeze_epochs": 1, "num_workers": "1..4"}
    assert train(dataset, tmp_path, weights_uri=str(one_worker), **options).metrics["val_accuracy"] >= 0.9


def test_a_sweep_compares_its_recipes_and_names_one_that_diverged(ray_cluster, dataset, tmp_path, capsys):
    (tmp_path / "good.toml").write_text("learning_rate = 1e-3\nepochs = 50\n")
    (tmp_path / "wild.toml").write_text("learning_rate = 1e30\ngradient_clip = 0.0\n")
    recipes = tuple(str(tmp_path / f"{name}.toml") for name in ("wild", "good"))
    flags = {"dataset_uri": dataset, "output_uri": str(tmp_path / "out"), **OPTIONS, "epochs": 2}
    argv = [part for name, value in flags.items() for part in (f"--{name.replace('_', '-')}", str(value))]
    with pytest.raises(
        TrainingError, match=r"^wild: the loss is not a finite number in epoch \d; .* lower --learning-rate"
    ):
        sweep_classifiers([*argv, "--sweep", *recipes])
    good, wild = read_table(str(tmp_path / "out/sweep.parquet")).to_pylist()
    assert (good["recipe"], wild["recipe"], wild["model_id"]) == ("good", "wild", None)
    assert good["model_id"] == read_card(str(tmp_path / "out/good")).model_id
    assert history_of(tmp_path / "out/good").num_rows == 2, "a flag overrides the recipe"
    assert not (tmp_path / "out/wild/model.json").exists()
    table = capsys.readouterr().out
    assert "good: epoch   2/2" in table
    assert table.index("good ") < table.index("wild    failed")
