import re

import numpy as np
import pytest

from cxr_ray.evaluation.report import classifier_report_html
from cxr_ray.evaluation.thumbnails import ScoredImage
from cxr_ray.metrics.classification import classification_metrics

FIGURES = {"confusion_matrix": {"light": b"light", "dark": b"dark"}}
PROVENANCE = {
    "model_id": ["resnet50-0123456789ab"],
    "preprocessing_id": ["fedcba987654"],
    "run_id": ["run-1", "run-2"],
    "scored_from": "2025-03-01 02:30:00 UTC",
    "scored_until": "2025-03-01 03:30:00 UTC",
    "predictions_uri": "s3://out/scored",
    "dataset_uri": "s3://out/dataset.parquet",
    "dataset_fingerprint": "00112233aabb",
    "split": "test",
    "evaluated_at": "2025-03-02 00:00:00 UTC",
    "code_version": "0.1.0",
}


@pytest.fixture
def metrics():
    truth, predicted = np.array([0, 0, 1, 1]), np.array([0, 0, 1, 0])
    figures = classification_metrics(truth, predicted, np.eye(3)[predicted], ("Normal", "Lung_Opacity", "COVID"))
    counts = {
        "n_images": 1234,
        "n_scored": 4,
        "n_errors": 2,
        "n_missing": 7,
        "errors_by_kind": {"too_large": 2},
    }
    sections = {
        "n_without_patient": 0,
        "n_left_out_by_label_map": {},
        "excluded_by_flag": {},
        "n_excluded_by_flag": 0,
        "val": None,
        "at_prevalence": {},
        "calibration": {
            "n_images": 4,
            "temperature": None,
            **dict.fromkeys(("scored", "before_temperature", "refitted")),
            **{f"{name}_missing": "it was not asked for" for name in ("scored", "before_temperature", "refitted")},
        },
        "operating_points": {"missing": "there is no val image", "classes": {}},
        "abstention": {"missing": "there is no val image", "threshold": None},
        "comparison": None,
        "subgroups": {},
        "external": None,
    }
    return figures | counts | sections | {"accuracy_failures_as_wrong": 0.5, "provenance": PROVENANCE}


def scored(*, correct: bool, picture: str | None = "data:image/jpeg;base64,AAAA", image_id: str = "a.png"):
    return ScoredImage(
        image_id=image_id,
        truth="Lung_Opacity",
        predicted="Lung_Opacity" if correct else "COVID",
        confidence=0.876,
        correct=correct,
        picture=picture,
        error_kind=None if picture else "not_found",
    )


def words(page: str) -> str:
    """Text of the page as a reader sees it."""
    body = re.sub(r"<[^>]*>", " ", page.partition("<body>")[2])
    return " ".join(body.split())


def test_page_loads_no_other_file(metrics):
    page = classifier_report_html(metrics, FIGURES, [scored(correct=True)])

    sources = re.findall(r'src(?:set)?="([^"]*)"', page)
    assert sources == [
        "data:image/png;base64,ZGFyaw==",
        "data:image/png;base64,bGlnaHQ=",
        "data:image/jpeg;base64,AAAA",
    ]
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|href", page.replace("s3://", ""))
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page


def test_page_shows_figures_provenance_and_the_research_line(metrics):
    text = words(classifier_report_html(metrics, FIGURES, [scored(correct=True), scored(correct=False)]))

    assert "Accuracy 0.750 95 % CI" in text
    assert "Images scored 4 of 1,234 with a label" in text
    assert re.search(
        r"Lung Opacity 0\.500 \S+ 1\.000 \S+ 1\.000 \S+ 0\.667 \S+ 0\.667 \S+ 0\.750 \S+ 0\.750 \S+ 2 ", text
    )
    assert re.search(r"COVID – 1\.000 \S+ – 1\.000 \S+ – – – 0 ", text)
    assert "As scored: not known, because it was not asked for." in text
    assert "No thresholds, because there is no val image." in text
    assert "If these images are counted as wrong, the accuracy is 0.500" in text
    assert "Images without a prediction, which the metrics exclude: 7" in text
    assert "Too large 2 No prediction 7" in text
    assert "Most confident mistakes 0.88 COVID true class: Lung Opacity" in text
    assert "Correct predictions, chosen at random from every class 0.88 Lung Opacity" in text
    assert "Model resnet50-0123456789ab" in text
    assert "Runs run-1, run-2" in text
    assert "Dataset fingerprint 00112233aabb" in text
    assert "For research use only; not a medical device." in text


def test_a_model_that_knows_the_val_split_is_named(metrics):
    val = {"accuracy": 0.999, "is_suspicious": True}
    text = words(classifier_report_html(metrics | {"val": val}, FIGURES, []))

    assert "On the val split the accuracy is 0.999, and here 0.750." in text
    assert "learned from the val split" not in words(classifier_report_html(metrics, FIGURES, []))


def test_clean_evaluation_shows_no_failures_and_no_empty_strip(metrics):
    clean = metrics | {"n_errors": 0, "n_missing": 0, "errors_by_kind": {}}
    text = words(classifier_report_html(clean, FIGURES, []))

    assert "counted as wrong" not in text
    assert "Scored images" not in text
    assert "No prediction" not in text


def test_unreadable_thumbnail_is_a_tile_with_its_kind(metrics):
    page = classifier_report_html(metrics, FIGURES, [scored(correct=True, picture=None)])

    assert '<div class="picture blank">not found</div>' in page


def test_names_from_the_archive_are_escaped(metrics):
    page = classifier_report_html(metrics, FIGURES, [scored(correct=True, image_id='"><script>alert(1)</script>')])

    assert "<script" not in page
