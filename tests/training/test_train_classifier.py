"""The training job on a real Ray cluster: what it learns, writes and refuses."""

import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.config import TrainClassifierConfig
from cxr_ray.errors import ClusterError, DatasetError
from cxr_ray.models.classifier import Classifier
from cxr_ray.schema import DATASET
from cxr_ray.training.train_classifier import train_classifier

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """96 noisy squares: dark ones are `Normal`, bright ones `COVID`."""
    folder = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(96):
        label, level = (("Normal", 60), ("COVID", 180))[i % 2]
        path = folder / f"{i}.png"
        Image.fromarray(rng.normal(level, 20, (32, 32)).clip(0, 255).astype(np.uint8)).save(path)
        split = "train" if i < 64 else "val" if i < 80 else "test"
        row = dict.fromkeys(DATASET.names) | {"image_id": path.name, "uri": str(path), "label": label, "split": split}
        rows.append(row | {"content_sha256": f"{i:064}", "duplicate_group": str(i)})
    write_table(pa.Table.from_pylist(rows, schema=DATASET), str(folder / "dataset.parquet"))
    return str(folder / "dataset.parquet")


def train(dataset, output, **options):
    options = {"backbone": "densenet121", "image_size": 32, "epochs": 6, "batch_size": 8} | options
    return train_classifier(TrainClassifierConfig(dataset_uri=dataset, output_uri=str(output), **options))


def test_a_learnable_task_is_learned_and_everything_is_written(ray_cluster, dataset, tmp_path, capsys):
    card = train(dataset, tmp_path / "model")
    assert card.labels == ("COVID", "Normal")
    assert card.metrics["val_accuracy"] >= 0.9
    history = read_table(str(tmp_path / "model/history.parquet")).to_pylist()
    assert [epoch["epoch"] for epoch in history] == list(range(1, 7))
    assert history[card.metrics["epoch"] - 1]["val_accuracy"] == max(e["val_accuracy"] for e in history)
    assert list((tmp_path / "model/tensorboard").iterdir())
    assert json.loads((tmp_path / "model/run.json").read_text())["model_id"] == card.model_id
    assert capsys.readouterr().out.count("epoch ") >= 6
    test_rows = [row for row in read_table(dataset).to_pylist() if row["split"] == "test"]
    pixels = np.stack([np.asarray(Image.open(row["uri"])) for row in test_rows])
    predicted = Classifier(str(tmp_path / "model")).predict(pixels).argmax(1)
    assert np.mean([card.labels[p] == row["label"] for p, row in zip(predicted, test_rows, strict=True)]) >= 0.9


def test_two_workers_train_one_model(ray_cluster, dataset, tmp_path):
    card = train(dataset, tmp_path / "model", num_workers=2, batch_size=4)
    assert card.metrics["val_accuracy"] >= 0.9


def test_more_workers_than_the_cluster_holds_are_refused_at_once(ray_cluster, dataset, tmp_path):
    with pytest.raises(ClusterError, match="--num-workers 9 needs 9 CPUs and the cluster has 2"):
        train(dataset, tmp_path, num_workers=9)
    with pytest.raises(ClusterError, match="needs 1 GPUs and the cluster has 0"):
        train(dataset, tmp_path, use_gpu=True)


def test_an_image_that_vanished_is_named(ray_cluster, dataset, tmp_path):
    table = read_table(dataset)
    rows = table.to_pylist()
    rows[0]["uri"] = str(tmp_path / "gone.png")
    write_table(pa.Table.from_pylist(rows, schema=table.schema), str(tmp_path / "dataset.parquet"))
    with pytest.raises(DatasetError, match=r"cannot train on 0.png: no object at .*gone.png"):
        train(str(tmp_path / "dataset.parquet"), tmp_path / "model")
