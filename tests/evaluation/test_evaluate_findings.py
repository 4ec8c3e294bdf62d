"""Evaluation of findings from written tables: what counts, what is refused, and which files are written."""

import json

import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.archive.tables import read_table, write_table
from cxr_ray.config import EvaluateClassifierConfig
from cxr_ray.errors import ConfigError, DatasetError
from cxr_ray.evaluation.evaluate_classifier import evaluate_classifier
from cxr_ray.schema import finding_fields, findings_dataset_schema, predictions_schema
from tests.evaluation.conftest import PROVENANCE

LABELS = ("edema", "mass")
SPLITS = ["test"] * 80 + ["val"] * 80


@pytest.fixture
def written(tmp_path):
    """Writes a dataset of 160 images of 40 patients and predictions of 159 of them, and returns the config of their evaluation."""

    def write(findings=LABELS, **choices):
        rng = np.random.default_rng(0)
        truth = (rng.random((160, 2)) < 0.4).astype(int)
        scores = np.clip(0.5 * truth + 0.5 * rng.random((160, 2)), 0, 1).astype(np.float32)
        images, predictions = [], []
        for at in range(160):
            known = {
                "label_edema": int(truth[at, 0]),
                "label_mass": [int(truth[at, 1]), -1, None][(at % 5 == 1) + 2 * (at % 5 == 2)],
            }
            image = {"image_id": f"{at:03}", "uri": f"/n/{at}", "split": SPLITS[at], "patient_id": f"p{at // 4}"}
            images.append(image | {f"label_{f}": known[f"label_{g}"] for f, g in zip(findings, LABELS, strict=True)})
            calls = {f"prob_{f}": scores[at, k] for k, f in enumerate(LABELS)}
            calls |= {f"label_{f}": int(scores[at, k] >= 0.5) for k, f in enumerate(LABELS)}
            row = {"image_id": f"{at:03}", "uri": f"/n/{at}", **PROVENANCE}
            failed = {"status": "error", "error_kind": "truncated"}
            predictions.append(row | (failed if at == 7 else {"status": "ok"} | calls))
        del predictions[9]
        schema = findings_dataset_schema(findings)
        write_table(pa.Table.from_pylist(images, schema=schema), str(tmp_path / "dataset.parquet"))
        schema = predictions_schema(LABELS, (), finding_fields)
        write_table(pa.Table.from_pylist(predictions, schema=schema), str(tmp_path / "scored/predictions/0.parquet"))
        uris = {name: str(tmp_path / name) for name in ("scored", "dataset.parquet", "report")}
        return EvaluateClassifierConfig(
            predictions_uri=uris["scored"], dataset_uri=uris["dataset.parquet"], output_uri=uris["report"],
            bootstrap_draws=50, **choices,
        )  # fmt: skip

    return write


def test_every_finding_is_judged_over_the_images_of_which_it_is_known(written, tmp_path, capsys):
    metrics = evaluate_classifier(written())
    assert {name: metrics[name] for name in ("task", "n_images", "n_scored", "n_errors", "n_missing", "n_patients")} == {
        "task": "multilabel", "n_images": 80, "n_scored": 78, "n_errors": 1, "n_missing": 1, "n_patients": 20,
    }  # fmt: skip
    edema, mass = metrics["per_class"].values()
    assert (edema["n_known"], edema["n_uncertain"]) == (78, 0)
    assert (mass["n_known"], mass["n_uncertain"], mass["n_not_known"]) == (47, 16, 31)
    assert mass["auroc"] > 0.8
    assert metrics["errors_by_kind"] == {"truncated": 1}
    points = metrics["operating_points"]["classes"]["mass"]["sensitivity"]
    assert points["chosen"]["sensitivity"] >= 0.95
    assert json.loads((tmp_path / "report/metrics.json").read_text()) == metrics
    rows = read_table(str(tmp_path / "report/rows.parquet"))
    assert rows["truth_mass"].to_pylist()[:3] == [rows["truth_mass"][0].as_py(), -1, None]
    assert {"prob_mass", "label_mass", "status", "model_id"} <= set(rows.column_names)
    page = (tmp_path / "report/report.html").read_text()
    assert "Evaluation of findings" in page
    assert "data:image/png" in page
    assert "mean over findings" in (tmp_path / "report/report.txt").read_text()
    assert "report.html" in capsys.readouterr().out


def test_thresholds_are_not_chosen_on_the_evaluated_images(written):
    metrics = evaluate_classifier(written(split="val"))
    assert metrics["operating_points"]["classes"] == {}
    assert "include the val split" in metrics["operating_points"]["missing"]


def test_findings_that_one_table_lacks_are_named(written):
    metrics = evaluate_classifier(written(findings=("edema", "nodule")))
    assert list(metrics["per_class"]) == ["edema"]
    assert (metrics["findings_without_truth"], metrics["findings_without_prediction"]) == (["mass"], ["nodule"])
    with pytest.raises(
        DatasetError, match="the dataset has the findings a, b, and the model predicts edema, mass; none is common"
    ):
        evaluate_classifier(written(findings=("a", "b")))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        (
            {"compare_uris": ("x",)},
            "compare_uris .* changes nothing without predictions of classes, and these are of findings",
        ),
        ({"abstain_below": 0.5}, "abstain_below 0.5 changes nothing without predictions of classes"),
        ({"subgroups": ("view_position",)}, "subgroups .* changes nothing without predictions of classes"),
    ],
)
def test_an_option_that_is_only_for_classes_is_refused(written, choices, message):
    with pytest.raises(ConfigError, match=message):
        evaluate_classifier(written(**choices))


def test_a_dataset_of_classes_is_refused(written, tmp_path, image_row, dataset_table):
    config = written()
    write_table(dataset_table([image_row("000", "COVID")]), str(tmp_path / "dataset.parquet"))
    with pytest.raises(
        DatasetError, match=r"has no column of a finding, such as label_edema; make it with prepare_dataset.py"
    ):
        evaluate_classifier(config)


def test_a_split_without_images_or_scored_images_is_refused(written):
    with pytest.raises(DatasetError, match="no image in split 'train'"):
        evaluate_classifier(written(split="train"))
