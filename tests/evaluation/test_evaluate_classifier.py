import dataclasses
import json
import os
import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import classification_report

from cxr_ray.archive.tables import write_table
from cxr_ray.errors import ConfigError, DatasetError, StorageError
from cxr_ray.evaluation.evaluate_classifier import evaluate_classifier
from cxr_ray.schema import LABELS, probability_column


@pytest.fixture
def small_evaluation(evaluation, image_row, prediction_row, png_archive):
    """Writes five images of the split: two correct, one wrong, one failed, one without a prediction."""

    def write(**choices):
        images = [image_row(name, "COVID", uri=png_archive(f"{name}.png")) for name in "abcd"]
        images += [
            image_row("e", "Viral Pneumonia", uri=png_archive("e.png")),
            image_row("f", "COVID", "train"),
        ]
        predictions = [
            prediction_row("a", "COVID", 0.9),
            prediction_row("b", "Normal", 0.6),
            prediction_row("c", None),
            prediction_row("e", "Viral_Pneumonia", 0.8),
            prediction_row("f", "Normal"),
        ]
        return evaluation(images, predictions, **choices)

    return write


def test_evaluation_writes_what_it_promises(small_evaluation, capsys):
    config = small_evaluation()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        metrics = evaluate_classifier(config)

    output = Path(config.output_uri)
    assert json.loads((output / "metrics.json").read_text(), parse_constant=pytest.fail) == metrics
    counts = {name: metrics[name] for name in ("n_images", "n_scored", "n_errors", "n_missing")}
    assert counts == {"n_images": 5, "n_scored": 3, "n_errors": 1, "n_missing": 1}
    assert metrics["errors_by_kind"] == {"truncated": 1}
    assert metrics["accuracy"] == pytest.approx(2 / 3)
    assert metrics["accuracy_failures_as_wrong"] == pytest.approx(2 / 4)
    assert metrics["per_class"]["Lung_Opacity"]["recall"] is None
    assert metrics["provenance"]["model_id"] == ["resnet50-0123456789ab"]

    report = classification_report(
        ["COVID", "COVID", "Viral_Pneumonia"],
        ["COVID", "Normal", "Viral_Pneumonia"],
        digits=2,
        zero_division=0,
    )
    assert (output / "report.txt").read_text() == report
    assert capsys.readouterr().out == f"{report}\n{output / 'report.html'}\n"
    with Image.open(output / "confusion_matrix.png") as figure:
        assert figure.format == "PNG"
    page = (output / "report.html").read_text()
    assert page.count("data:image/jpeg") == 3
    assert "://" not in page


@pytest.mark.slow
def test_rows_can_be_recounted(small_evaluation):
    config = small_evaluation(split="all", strip_images=0)
    metrics = evaluate_classifier(config)

    rows = pq.read_table(Path(config.output_uri) / "rows.parquet")
    assert rows.num_rows == metrics["n_images"] == 6
    correct = [value for value in rows["correct"].to_pylist() if value is not None]
    assert sum(correct) / len(correct) == metrics["accuracy"]
    assert {"prob_covid", "prob_viral_pneumonia", "error_kind", "run_id"} <= set(rows.column_names)


@pytest.mark.slow
def test_folder_of_parquet_itself_is_read_too(small_evaluation, tmp_path):
    config = small_evaluation()
    by_output = evaluate_classifier(config)
    inner = type(config)(
        predictions_uri=f"file://{tmp_path}/scored/predictions",
        dataset_uri=config.dataset_uri,
        output_uri=f"file://{tmp_path}/again",
    )

    assert evaluate_classifier(inner)["confusion_matrix"] == by_output["confusion_matrix"]
    assert (tmp_path / "again" / "report.html").exists()


def test_predictions_of_another_archive_are_refused(evaluation, image_row, prediction_row):
    config = evaluation([image_row("a", "COVID")], [prediction_row("b", "COVID")])

    with pytest.raises(DatasetError, match=r"scored holds no prediction for the 1 images .*dataset\.parquet"):
        evaluate_classifier(config)


def test_predictions_of_other_files_under_the_same_names_are_refused(evaluation, image_row, prediction_row):
    images = [image_row(name, "COVID") | {"content_sha256": name * 64} for name in "abc"]
    predictions = [prediction_row(name, "COVID", content_sha256="b" * 64) for name in "abc"]
    config = evaluation(images, predictions)

    with pytest.raises(DatasetError, match=r"scored scored other files than 2 of the dataset's images, first 'a' "):
        evaluate_classifier(config)


def test_predictions_of_other_tools_need_not_know_the_content(evaluation, image_row, prediction_row, tmp_path):
    config = evaluation([image_row("a", "COVID") | {"content_sha256": "a" * 64}], [prediction_row("a", "COVID")])
    for path in (tmp_path / "scored/predictions").iterdir():
        pq.write_table(pq.read_table(path).drop_columns(["content_sha256"]), path)

    assert evaluate_classifier(dataclasses.replace(config, strip_images=0))["n_scored"] == 1


def test_an_output_in_the_folder_of_the_predictions_is_refused(evaluation, image_row, prediction_row):
    config = evaluation([image_row("a", "COVID")], [prediction_row("a", "COVID")])

    with pytest.raises(ConfigError, match="output_uri must be another folder than predictions_uri; got"):
        evaluate_classifier(dataclasses.replace(config, output_uri=config.predictions_uri))


def test_archive_that_failed_as_a_whole_is_refused(evaluation, image_row, prediction_row):
    config = evaluation(
        [image_row("a", "COVID"), image_row("b", "COVID")],
        [prediction_row("a", None), prediction_row("b", None, error_kind="too_large")],
    )

    with pytest.raises(DatasetError, match=r"scored none of the 2 images .* 1 too_large, 1 truncated"):
        evaluate_classifier(config)


def test_image_scored_twice_is_refused(evaluation, image_row, prediction_row):
    config = evaluation([image_row("a", "COVID")], [prediction_row("a", "COVID"), prediction_row("a", "Normal")])

    with pytest.raises(DatasetError, match=r"'a' occurs 2 times in .*scored/predictions .*--overwrite"):
        evaluate_classifier(config)


def test_table_of_another_kind_is_refused(small_evaluation):
    config = small_evaluation()
    swapped = type(config)(
        predictions_uri=config.dataset_uri, dataset_uri=config.dataset_uri, output_uri=config.output_uri
    )

    with pytest.raises(StorageError, match=r"has no column .*confidence"):
        evaluate_classifier(swapped)


@pytest.mark.slow
def test_absent_pictures_do_not_stop_the_report(small_evaluation, tmp_path):
    config = small_evaluation()
    os.truncate(tmp_path / "archive" / "a.png", 60)
    (tmp_path / "archive" / "b.png").unlink()

    evaluate_classifier(config)

    page = (Path(config.output_uri) / "report.html").read_text()
    assert page.count("data:image/jpeg") == 1
    assert page.count('<div class="picture blank">') == 2


@pytest.fixture
def two_models(evaluation, image_row, prediction_row, predictions_table, tmp_path):
    """Writes 90 images of two classes in three splits, and the predictions of two models."""

    def write(*, labels=("COVID", "Normal"), **choices):
        splits = ("test", "val", "train")
        images = [image_row(f"{n}", labels[n % 2], splits[n // 30]) | {"patient_id": f"p{n // 2}"} for n in range(90)]
        words = ("COVID", "Normal")
        first, second = (
            [
                prediction_row(
                    f"{n}", words[(n % 2) ^ (n % every == 0)], 0.5 + n % 10 / 25, view_position="AP" if n % 3 else "PA"
                )
                for n in range(90)
            ]
            for every in (5, 3)
        )
        config = evaluation(images, first, strip_images=0, bootstrap_draws=20, **choices)
        write_table(predictions_table(second), str(tmp_path / "other/predictions/0.parquet"))
        return config

    return write


def test_sections_agree_with_the_rows(two_models, tmp_path):
    config = two_models(
        compare_uris=(str(tmp_path / "other"),), subgroups=("view_position",), prevalence=("COVID=0.02",)
    )
    metrics = evaluate_classifier(config)

    rows = pq.read_table(Path(config.output_uri) / "rows.parquet").to_pylist()
    assert metrics["n_patients"] == len({row["patient"] for row in rows}) == 15
    assert metrics["n_without_patient"] == 0
    groups = metrics["subgroups"]["view_position"]
    assert {name: row["n"] for name, row in groups.items()} == {"AP": 20, "PA": 10}
    by_id = {row["image_id"]: row for row in rows}
    of_pa = [by_id[f"{n}"]["correct"] for n in range(0, 30, 3)]
    assert groups["PA"]["accuracy"] == pytest.approx(sum(of_pa) / 10)
    models = metrics["comparison"]["models"]
    assert models["resnet50-0123456789ab"]["accuracy"] == metrics["accuracy"] == pytest.approx(24 / 30)
    assert models["resnet50-0123456789ab (2)"]["accuracy"] == pytest.approx(20 / 30)
    assert list(models)[2] == "mean of all models"
    covid = metrics["per_class"]["COVID"]
    odds = covid["recall"] * 0.02 / ((1 - covid["specificity"]) * 0.98)
    assert metrics["at_prevalence"]["COVID"]["ppv"] == pytest.approx(odds / (1 + odds))
    point = metrics["operating_points"]["classes"]["COVID"]["youden"]
    called = [row["prob_covid"] >= point["chosen"]["threshold"] for row in rows]
    assert point["n_called"] == sum(called)
    mistakes = [row["image_id"] for row in metrics["confident_mistakes"]]
    assert sorted(mistakes) == sorted(row["image_id"] for row in rows if not row["correct"])
    confidences = [row["confidence"] for row in metrics["confident_mistakes"]]
    assert confidences == sorted(confidences, reverse=True)
    written = {path.name for path in Path(config.output_uri).iterdir()}
    assert {"reliability.png", "risk_coverage.png", "confusion_matrix.png", "report.html"} <= written
    page = Path(config.output_uri, "report.html").read_text()
    assert all(
        title in page for title in ("Calibration", "Operating points", "Abstention", "Subgroups by view position")
    )


def test_predictions_of_several_models_are_compared_with_their_members(two_models, tmp_path):
    config = two_models()
    for path in (tmp_path / "scored/predictions").iterdir():
        table = pq.read_table(path)
        for prefix, of in (("vit_b16", "prob_covid"), ("resnet50", "prob_normal")):
            for label in LABELS:  # members that are sure of one class
                same = probability_column(label) == of
                column = pa.array([0.7 if same else 0.1] * table.num_rows, pa.float32())
                table = table.append_column(f"{prefix}_{probability_column(label)}", column)
        pq.write_table(table, path)

    models = evaluate_classifier(config)["comparison"]["models"]
    assert list(models) == ["resnet50-0123456789ab", "vit_b16", "resnet50"]
    assert models["vit_b16"]["accuracy"] == models["resnet50"]["accuracy"] == 0.5


def test_another_dataset_is_set_beside_the_internal_test(two_models, tmp_path):
    internal = two_models()
    evaluate_classifier(dataclasses.replace(internal, output_uri=str(tmp_path / "internal")))
    theirs = two_models(
        labels=("SARS-CoV-2", "healthy"),
        label_map=("SARS-CoV-2=COVID", "healthy=Normal"),
        internal_uri=str(tmp_path / "internal"),
        split="all",
    )
    metrics = evaluate_classifier(theirs)

    found = json.loads((tmp_path / "internal/metrics.json").read_text())
    assert metrics["external"]["figures"]["accuracy"]["internal"] == found["accuracy"]
    assert metrics["external"]["figures"]["accuracy"]["external"] == metrics["accuracy"]
    assert metrics["external"]["n_images"] == {"internal": 30, "external": 90}
    assert metrics["operating_points"]["chosen_on"] == "internal"
    ours, there = (one["operating_points"]["classes"]["COVID"]["youden"]["chosen"] for one in (found, metrics))
    assert ours == there
    assert "External validation" in Path(theirs.output_uri, "report.html").read_text()


def test_unknown_columns_and_classes_are_refused(two_models):
    with pytest.raises(DatasetError, match=r"no table has the column 'sex' of subgroups; there are .*view_position"):
        evaluate_classifier(two_models(subgroups=("sex",)))
    with pytest.raises(ConfigError, match=r"prevalence must be of one of the classes COVID, .* got 'TB'"):
        evaluate_classifier(two_models(prevalence=("TB=0.1",)))


@pytest.mark.slow
@pytest.mark.realdata
def test_real_radiographs_fill_the_strip(evaluation, image_row, prediction_row):
    shared = Path(os.environ.get("CXR_SHARED", Path(__file__).parents[3] / "shared"))
    radiography = shared / "data" / "radiography"
    if not radiography.is_dir():
        pytest.skip(f"no radiographs at {radiography}; set CXR_SHARED")
    files = [path for folder in sorted(radiography.glob("*/images")) for path in sorted(folder.iterdir())[:6]]
    images = [image_row(path.name, path.parts[-3], uri=str(path)) for path in files]
    config = evaluation(images, [prediction_row(path.name, path.parts[-3]) for path in files])

    metrics = evaluate_classifier(config)

    page = Path(config.output_uri, "report.html").read_text()
    assert metrics["accuracy"] == 1
    assert page.count("data:image/jpeg") == 16
    assert len(page) < 2_000_000


@pytest.mark.slow
def test_the_report_shows_an_audit_and_stays_below_5_mb(evaluation, image_row, prediction_row, tmp_path):
    noise = np.random.default_rng(0)
    images, predictions = [], []
    for number in range(64):
        path = tmp_path / f"archive/{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (160, 160), dtype=np.uint8)).save(path)
        images.append(image_row(str(number), LABELS[number % 4], uri=str(path)))
        predictions.append(prediction_row(str(number), LABELS[number % 3]))
    verdict = {"check": "border", "verdict": "warn", "figure": "0.4", "threshold": "0.3", "why": "it tells the class"}
    (tmp_path / "audit.json").write_text(json.dumps({"verdicts": [verdict]}))
    config = evaluation(
        images, predictions, strip_images=64, audit_uri=str(tmp_path / "audit.json"), bootstrap_draws=50
    )
    metrics = evaluate_classifier(config)

    page = (tmp_path / "evaluation/report.html").read_bytes()
    assert page.count(b"data:image/jpeg") == 64
    assert len(page) < 5e6
    assert b"it tells the class" in page
    assert metrics["audit"] == [verdict]
    assert metrics["model_card"]["notes"] == ["The predictions have no run.json."]
    assert json.loads((tmp_path / "evaluation/metrics.json").read_text())["limits"] == metrics["limits"]


def test_an_audit_of_another_model_is_refused(evaluation, image_row, prediction_row, tmp_path):
    (tmp_path / "audit.json").write_text(json.dumps({"model_id": "vit_b16-ffffffffffff", "findings": []}))
    config = evaluation([image_row("a", "COVID")], [prediction_row("a", "COVID")], audit_uri=f"{tmp_path}/audit.json")
    with pytest.raises(DatasetError, match=r"audit\.json is of the model vit_b16-ffffffffffff"):
        evaluate_classifier(config)


@pytest.mark.slow
def test_flagged_images_are_left_out_and_counted(evaluation, image_row, prediction_row):
    images = [image_row(name, label) for name, label in zip("abc", ("COVID", "Normal", "Normal"), strict=True)]
    images.append(image_row("d", "COVID", split="val"))
    predictions = [
        prediction_row("a", "COVID", qc_flags=["burned_in_text"]),
        prediction_row("b", "COVID", qc_flags=["inverted", "rotated_180"]),
        prediction_row("c", "Normal", qc_flags=[]),
        prediction_row("d", "Normal", qc_flags=["inverted"]),
    ]
    assert evaluate_classifier(evaluation(images, predictions))["accuracy"] == pytest.approx(2 / 3)
    config = evaluation(images, predictions, exclude_flags=("inverted", "rotated_180"))
    metrics = evaluate_classifier(config)

    assert (metrics["n_images"], metrics["accuracy"]) == (2, 1)
    assert metrics["excluded_by_flag"] == {"inverted": 1, "rotated_180": 1}, "those of the evaluated split"
    assert metrics["val"] is None, "no image of the val split is left"
    page = " ".join(Path(config.output_uri, "report.html").read_text().split())
    assert "Images excluded by their quality flags: 1 (inverted: 1, rotated_180: 1)" in page
