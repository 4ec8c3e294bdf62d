import re

import pytest

from cxr_ray.evaluation.model_card import model_card
from cxr_ray.evaluation.model_facts import ModelFacts
from cxr_ray.evaluation.plain_words import in_short, limits_of
from cxr_ray.evaluation.report import classifier_report_html
from cxr_ray.evaluation.thumbnails import ScoredImage
from tests.chromium import axe_source, chromium
from tests.evaluation.whole_metrics import full_metrics

FIGURES = {"confusion_matrix": {"light": b"light", "dark": b"dark"}}


@pytest.fixture
def metrics():
    found = full_metrics()
    words = {"in_short": in_short(found), "limits": limits_of(found)}
    return found | words | {"model_card": model_card(found, ModelFacts())}


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
    assert not re.search(r"https?:|//|@import|url\(|<script|<link|href=\"[^#]", page.replace("s3://", ""))
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


def test_verdicts_of_an_audit_are_words_beside_colours(metrics):
    row = {"check": "border", "verdict": "fail", "figure": "0.91", "threshold": "0.5", "why": "right without lungs"}
    text = words(classifier_report_html(metrics | {"audit": [row]}, FIGURES, []))

    assert "border ✕ fail 0.91 0.5 right without lungs" in text
    assert "no audit was given with --audit-uri" in words(classifier_report_html(metrics, FIGURES, []))


def test_what_no_file_says_is_marked_in_the_model_card(metrics):
    text = words(classifier_report_html(metrics, FIGURES, []))

    assert "Ethical approval Not known. To be added: the committee and its decision. TRIPOD+AI 17" in text
    assert "Figures Sensitivity, specificity, PPV" in text
    assert f"{metrics['model_card']['claim_answered']} of the 44 items of CLAIM 2024" in text


def test_every_link_leads_to_a_section(metrics):
    page = classifier_report_html(metrics, FIGURES, [scored(correct=True)])

    anchors = re.findall(r'href="#([^"]+)"', page)
    assert {"classes", "audit", "limits", "card", "failures", "images"} <= set(anchors)
    assert [anchor for anchor in anchors if f'id="{anchor}"' not in page] == []


@pytest.fixture(scope="module")
def browser():
    with chromium() as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False), (390, True)])
def test_axe_finds_no_serious_fault(metrics, browser, tmp_path, width, dark):
    axe = axe_source()
    verdicts = [
        {"check": "lungs", "verdict": verdict, "figure": "0.9", "threshold": "0.5", "why": "why"}
        for verdict in ("fail", "warn", "pass", "not done")
    ]
    strip = [scored(correct=True), scored(correct=False, picture=None)]
    path = tmp_path / "report.html"
    path.write_text(classifier_report_html(metrics | {"audit": verdicts}, FIGURES, strip))
    page = browser.page()
    page.call("Page.setBypassCSP", enabled=True)
    page.show(width, 844, dark=dark)
    page.open(path)
    assert page.faults(axe) == []
    assert page.run("document.documentElement.scrollWidth") <= width
    assert [url for url in page.requests if not url.startswith(("file:", "data:"))] == []


@pytest.mark.slow
def test_the_printed_report_is_light_and_whole(metrics, browser, tmp_path):
    path = tmp_path / "report.html"
    path.write_text(classifier_report_html(metrics, FIGURES, []))
    page = browser.page()
    page.show(794, 1123, dark=True, media="print")
    page.open(path)
    assert page.run("getComputedStyle(document.querySelector('.card')).backgroundColor") == "rgb(255, 255, 255)"
    assert page.run("getComputedStyle(document.querySelector('.contents')).display") == "none"
    assert page.run("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
