"""Findings from tables to an evaluation, on a real Ray cluster: what is learned where labels are missing and uncertain."""

import json

import pyarrow.compute as pc
import pytest

from cxr_ray.archive.tables import write_table
from cxr_ray.config import ClassifyConfig, EvaluateClassifierConfig, PrepareConfig, TrainClassifierConfig
from cxr_ray.evaluation.evaluate_classifier import evaluate_classifier
from cxr_ray.phantoms.phantom_findings import PHANTOM_FINDINGS
from cxr_ray.preparation.prepare_dataset import prepare_dataset
from cxr_ray.schema import finding_column
from cxr_ray.scoring.classify_archive import classify_archive
from cxr_ray.training.classifier.train_classifier import train_classifier
from tests.training.drawn_findings import write_drawn_findings

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

RECIPE = f"""
path = "path"
patient = "patient"
split = "split"
findings = {json.dumps(PHANTOM_FINDINGS)}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("findings")


@pytest.fixture(scope="module")
def datasets(ray_cluster, folder):
    """Datasets of the drawn findings: `masked`, and `blank` in which every label that is missing is absent."""
    write_drawn_findings(folder, images=300)
    (folder / "recipe.toml").write_text(RECIPE)
    found = {name: str(folder / f"{name}.parquet") for name in ("masked", "blank")}
    table = prepare_dataset(
        PrepareConfig(
            input_uri=str(folder / "images"), output_uri=found["masked"], labels_uri=(str(folder / "labels.csv"),),
            label_recipe=str(folder / "recipe.toml"),
        )
    )  # fmt: skip
    assert table.num_rows == 300
    for column in map(finding_column, PHANTOM_FINDINGS):
        assert table[column].null_count > 60
        table = table.set_column(table.column_names.index(column), column, pc.fill_null(table[column], 0))
    write_table(table, found["blank"])
    return found


def trained(dataset, output, **options):
    chosen = {
        "backbone": "densenet121",
        "image_size": 32,
        "epochs": 10,
        "batch_size": 16,
        "learning_rate": 2e-3,
        "flip": 0.0,
    }
    train_classifier(
        TrainClassifierConfig(dataset_uri=dataset, output_uri=str(output), task="multilabel", **chosen | options)
    )
    return str(output)


def evaluated(folder, name, model, datasets):
    """Metrics of the test split, whose labels are all known."""
    classify_archive(
        ClassifyConfig(
            input_uri=datasets["masked"], model_uri=(model,), output_uri=str(folder / f"{name}_scored"), engine="torch"
        )
    )
    return evaluate_classifier(
        EvaluateClassifierConfig(
            predictions_uri=str(folder / f"{name}_scored"), dataset_uri=datasets["masked"],
            output_uri=str(folder / f"{name}_report"), bootstrap_draws=200,
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def model(folder, datasets):
    return trained(datasets["masked"], folder / "model")


@pytest.fixture(scope="module")
def metrics(folder, datasets, model):
    return evaluated(folder, "masked", model, datasets)


def test_three_findings_are_learned_from_labels_of_which_most_are_missing(metrics):
    areas = {label: row["auroc"] for label, row in metrics["per_class"].items()}
    print(areas)
    assert list(areas) == list(PHANTOM_FINDINGS)
    assert min(areas.values()) >= 0.95


def test_masking_beats_taking_missing_labels_as_absent(folder, datasets, metrics):
    blank = evaluated(folder, "blank", trained(datasets["blank"], folder / "blank_model"), datasets)
    print(blank["macro_auroc"], blank["macro_f1"], metrics["macro_f1"])
    assert metrics["macro_auroc"] > blank["macro_auroc"]
