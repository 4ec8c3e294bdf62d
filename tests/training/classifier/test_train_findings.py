"""Drawn findings from tables to an evaluation: what is learned where most labels are missing and some are uncertain."""

import json
from itertools import pairwise
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from cxr_ray.archive.datasets import finding_values, rows_of_split
from cxr_ray.config import ClassifyConfig, EvaluateClassifierConfig, PrepareConfig, TrainClassifierConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.evaluate_classifier import evaluate_classifier
from cxr_ray.metrics.classification import auroc
from cxr_ray.models.multilabel_card import MultilabelCard, read_classifier_card
from cxr_ray.phantoms.phantom_findings import PHANTOM_FINDINGS
from cxr_ray.preparation.prepare_dataset import prepare_dataset
from cxr_ray.scoring.classify_archive import classify_archive
from cxr_ray.training.classifier.objectives import objective_of
from cxr_ray.training.classifier.train_classifier import train_classifier
from tests.training.drawn_findings import write_drawn_findings

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

RECIPE = f"""
path = "path"
patient = "patient"
split = "split"
findings = {json.dumps(PHANTOM_FINDINGS)}
"""
OPTIONS = {"backbone": "densenet121", "image_size": 32, "batch_size": 24, "epochs": 12, "learning_rate": 3e-3}


@pytest.fixture(scope="module")
def folder(ray_cluster, tmp_path_factory):
    """A folder with drawn images, the table of their labels, and `dataset.parquet`."""
    folder = tmp_path_factory.mktemp("findings")
    write_drawn_findings(folder, images=300)
    (folder / "recipe.toml").write_text(RECIPE)
    prepare_dataset(
        PrepareConfig(
            input_uri=str(folder / "images"), output_uri=str(folder / "dataset.parquet"),
            labels_uri=(str(folder / "labels.csv"),), label_recipe=str(folder / "recipe.toml"),
        )
    )  # fmt: skip
    return folder


def config_of(folder, **options):
    return TrainClassifierConfig(
        dataset_uri=str(folder / "dataset.parquet"),
        output_uri=str(folder / "model"),
        task="multilabel",
        **OPTIONS | options,
    )


def pixels_of(rows):
    return torch.stack([torch.from_numpy(np.array(Image.open(uri))) for uri in rows["uri"].to_pylist()])[:, None] / 255


def trained_small_network(objective, pixels, targets, seed):
    """A network of three layers, trained with the loss of `objective`, which takes seconds."""
    torch.manual_seed(seed)
    widths, rounds, batch = (1, 16, 32, 64), 30, 24
    layers = [
        layer
        for here, there in pairwise(widths)
        for layer in (nn.Conv2d(here, there, 3, stride=2, padding=1), nn.BatchNorm2d(there), nn.ReLU())
    ]
    network = nn.Sequential(*layers, nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, targets.shape[1]))
    optimizer = torch.optim.AdamW(network.parameters())
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=rounds * (len(pixels) // batch))
    truth, weights = objective.truth_of(targets, targets.shape[1]), objective.loss_weights(targets)
    for _ in range(rounds):
        for chosen in torch.randperm(len(pixels))[: len(pixels) // batch * batch].split(batch):
            objective.loss(network(pixels[chosen]), truth[chosen], weights, 0.0).backward()
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    return network.eval()


def test_masking_beats_taking_missing_labels_as_absent(folder):
    config = config_of(folder)
    dataset = objective_of(config).read(config.dataset_uri)
    objective = objective_of(config)(config, dataset)
    train = rows_of_split(dataset, "train")
    masked = objective.targets(train, "train")
    assert np.isnan(masked).mean() > 0.4
    others = dataset.filter(np.array(dataset["split"].to_pylist()) != "train")
    truth, pixels = finding_values(others, objective.labels) == 1, pixels_of(train)
    areas = []
    for targets in (masked, np.nan_to_num(masked, nan=0.0)):
        networks = [trained_small_network(objective, pixels, targets, seed) for seed in range(3)]
        with torch.no_grad():
            scores = [network(pixels_of(others)).double().numpy() for network in networks]
        areas.append([[auroc(truth[:, k], one[:, k]) for k in range(len(objective.labels))] for one in scores])
    of_masked, of_blank = np.array(areas)
    assert of_masked.mean() > of_blank.mean() + 0.01


def test_three_findings_are_learned_scored_and_evaluated(folder):
    train_classifier(config_of(folder))
    card = read_classifier_card(str(folder / "model"))
    assert isinstance(card, MultilabelCard)
    assert card.labels == PHANTOM_FINDINGS
    assert {"val_auroc", "val_auroc_mass", "val_macro_f1"} <= card.metrics.keys()
    scored, dataset = str(folder / "scored"), str(folder / "dataset.parquet")
    classify_archive(
        ClassifyConfig(input_uri=dataset, model_uri=(str(folder / "model"),), output_uri=scored, engine="torch")
    )
    metrics = evaluate_classifier(
        EvaluateClassifierConfig(
            predictions_uri=scored, dataset_uri=dataset, output_uri=str(folder / "report"), bootstrap_draws=200
        )
    )
    areas = {label: row["auroc"] for label, row in metrics["per_class"].items()}
    assert min(areas.values()) >= 0.95, areas
    assert metrics["macro_f1"] > 0.8
    query = f"SELECT count(*), sum(label_mass), min(prob_mass), max(prob_mass) FROM '{scored}/predictions/*.parquet'"
    ((count, called, lowest, highest),) = duckdb.sql(query).fetchall()
    assert count == 300
    assert 0.3 < called / count < 0.7
    assert 0 <= lowest < 0.3 < 0.7 < highest <= 1
    assert Path(folder, "report/report.html").exists()


def test_a_dataset_of_findings_is_named_where_classes_are_asked_for(folder):
    with pytest.raises(DatasetError, match=r"no image has a class in the column label; .* --task multilabel"):
        train_classifier(
            TrainClassifierConfig(dataset_uri=str(folder / "dataset.parquet"), output_uri=str(folder / "classes"))
        )
