import json

import pyarrow as pa
import pytest

from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.config.probing import TrainProbeConfig
from cxr_ray.errors import ConfigError, DatasetError
from cxr_ray.models.bundle import read_card
from cxr_ray.probing.train_probe import train_probe
from cxr_ray.scoring.stages.classify import ClassifyStage

pytestmark = pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")


def train(embedded, output, show=lambda line: None, **options):
    options = {"embeddings_uri": embedded.uri, "dataset_uri": (embedded.dataset_uri,), "folds": 3} | options
    return train_probe(TrainProbeConfig(output_uri=str(output), **options), show)


@pytest.fixture(scope="module")
def trained(embedded, tmp_path_factory):
    """Output, results and lines of a training."""
    output, lines = tmp_path_factory.mktemp("trained"), []
    return output, train(embedded, output, lines.append), lines


def test_the_probe_is_an_ordinary_classifier_that_the_stage_of_an_archive_job_scores(embedded, trained):
    output, results, _ = trained
    options = {"device": "cpu", "engine": "torch", "precision": "fp32", "threads": 1, "run_id": "r"}
    rows = ClassifyStage(model_uris=(str(output),), **options)(embedded.loaded).to_pylist()
    truth = dict(
        zip(*(read_table(embedded.dataset_uri)[name].to_pylist() for name in ("image_id", "label")), strict=True)
    )
    of_test = [row for row in rows if row["image_id"] >= "24" and row["status"] == "ok"]
    assert len(of_test) == results["test"]["images"] == 18
    right = sum(row["label"] == truth[row["image_id"]] for row in of_test)
    assert right / 18 == results["test"]["accuracy"] >= 0.9
    assert next(row for row in rows if row["image_id"] == "broken.png")["status"] == "error"


def test_images_of_the_test_split_only_judge(trained):
    output, results, _ = trained
    rows = read_table(str(output / "cross_validation.parquet"))
    assert rows["image_id"].to_pylist() == [
        f"{patient:02d}-{number}.png" for patient in range(24) for number in range(3)
    ]
    agree = sum(a == b for a, b in zip(rows["label"].to_pylist(), rows["predicted"].to_pylist(), strict=True))
    assert agree / 72 == results["cross_validation"]["accuracy"]
    assert {"fold", "confidence", "prob_coarse", "prob_fine", "prob_flat"} < set(rows.column_names)


def test_what_was_measured_is_kept_and_said(embedded, trained):
    output, results, lines = trained
    assert json.loads((output / "probe.json").read_text()) == results
    card = read_card(str(output))
    assert card.metrics["accuracy"] == results["cross_validation"]["accuracy"]
    assert card.temperature == results["temperature"]
    assert lines[0].startswith("learned from 72 images of 24 patients, 3 classes, 96 features of test_resnet-")
    assert lines[-1] == f"classifier {card.model_id} in {output}"
    assert [point["images"] for point in results["learning_curve"]][-1] == 48
    assert json.loads((output / "run.json").read_text())["model_id"] == card.model_id


def test_a_bundle_is_not_replaced_unless_asked_for(embedded, trained):
    output, *_ = trained
    with pytest.raises(ConfigError, match=r"a bundle is at .*; name another output or add --overwrite"):
        train(embedded, output)
    before = read_card(str(output)).weights_sha256
    train(embedded, output, overwrite=True, learning_curve=False)
    assert read_card(str(output)).weights_sha256 == before


def test_embeddings_can_be_judged_without_a_bundle(embedded, tmp_path):
    lines = []
    results = train(embedded, tmp_path, lines.append, bundle=False, learning_curve=False, model_uri=None)
    assert not (tmp_path / "model.json").exists()
    assert results["learning_curve"] == []
    assert lines[-1] == f"probe.json in {tmp_path}"


def test_a_patient_on_both_sides_and_a_class_of_few_patients_are_refused(embedded, tmp_path):
    table = read_table(embedded.dataset_uri)
    splits = table["split"].to_pylist()
    splits[0] = "test"
    split = table.set_column(table.column_names.index("split"), "split", pa.array(splits))
    write_table(split, str(tmp_path / "d.parquet"))
    with pytest.raises(
        DatasetError, match=r"1 patients have images in the test split and outside it, .* that of '00-0\.png'"
    ):
        train(embedded, tmp_path / "out", dataset_uri=(str(tmp_path / "d.parquet"),))
    with pytest.raises(
        DatasetError, match="coarse has images of 8 patients, and 9 folds need one each; lower --folds to 8"
    ):
        train(embedded, tmp_path / "out", folds=9)
    assert not (tmp_path / "out").exists()
