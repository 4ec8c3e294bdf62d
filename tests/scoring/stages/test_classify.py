from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.errors import BundleError
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.multilabel_card import MultilabelCard
from cxr_ray.schema import PROVENANCE_FIELDS, finding_fields, predictions_schema, score_fields
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.classify import ClassifyStage
from cxr_ray.scoring.stages.load import Geometry, LoadStage, pixels_of

LABELS = ("COVID", "Lung_Opacity", "Normal", "Viral_Pneumonia")
PROBABILITIES = ["prob_covid", "prob_lung_opacity", "prob_normal", "prob_viral_pneumonia"]
SMALL = Geometry(image_size=32, interpolation="bilinear")
LARGE = Geometry(image_size=48, interpolation="bicubic")

pytestmark = pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")


@pytest.fixture(scope="module")
def batch(archive):
    limits = DecodeLimits(max_megapixels=1)
    (table,) = LoadStage(geometries=(SMALL, LARGE), limits=limits, patient_secret=PatientSecret(b"s"))(archive)
    return table


@pytest.fixture(scope="module")
def uris(save_random, tmp_path_factory):
    """URIs of two bundles of different weights and geometry."""
    folder = tmp_path_factory.mktemp("bundles")
    save_random(folder / "one", seed=1)
    save_random(folder / "two", seed=2, image_size=48, interpolation="bicubic")
    return str(folder / "one"), str(folder / "two")


def make_stage(*uris, precision="fp32", engine="torch"):
    return ClassifyStage(model_uris=uris, device="cpu", engine=engine, precision=precision, threads=1, run_id="run-1")


@pytest.fixture(scope="module")
def one(uris):
    return make_stage(uris[0])


@pytest.fixture(scope="module")
def both(uris):
    return make_stage(*uris)


@pytest.fixture(scope="module")
def scored(one, batch):
    return one(batch)


def test_schema_is_exactly_that_of_predictions(scored, both, batch):
    assert scored.schema.equals(predictions_schema(LABELS))
    assert both(batch).schema.equals(predictions_schema(LABELS, ("efficientnet_b0_", "efficientnet_b0_2_")))


def test_rows_keep_order_and_what_loading_found(scored, batch):
    for name in set(scored.column_names) & set(batch.column_names):
        assert scored[name].to_pylist() == batch[name].to_pylist()


def test_scores_are_null_where_the_status_is_error_and_nowhere_else(both, batch):
    scored = both(batch)
    is_error = [status == "error" for status in scored["status"].to_pylist()]
    assert any(is_error)
    assert not all(is_error)
    for prefix in ("", "efficientnet_b0_", "efficientnet_b0_2_"):
        for field in score_fields(LABELS, prefix):
            assert scored[field.name].is_null().to_pylist() == is_error
    for field in PROVENANCE_FIELDS:
        assert scored[field.name].null_count == 0


def test_scores_are_those_of_the_classifier(scored, batch, uris):
    expected = Classifier(uris[0], device="cpu", precision="fp32").predict(pixels_of(batch, SMALL)[0])
    rows = [row for row in scored.to_pylist() if row["status"] == "ok"]
    assert len(rows) == len(expected)
    for row, probs in zip(rows, expected, strict=True):
        np.testing.assert_allclose([row[name] for name in PROBABILITIES], probs, atol=1e-6)
        assert row["label"] == LABELS[probs.argmax()]
        assert row["confidence"] == pytest.approx(probs.max())
        assert row["entropy"] == pytest.approx(-(probs * np.log(probs.clip(1e-12))).sum(), abs=1e-5)


def test_each_of_several_models_has_its_columns_and_their_mean_has_no_prefix(both, batch, uris):
    rows = [row for row in both(batch).to_pylist() if row["status"] == "ok"]
    for prefix, uri, geometry in (("efficientnet_b0_", uris[0], SMALL), ("efficientnet_b0_2_", uris[1], LARGE)):
        expected = Classifier(uri, device="cpu", precision="fp32").predict(pixels_of(batch, geometry)[0])
        found = [[row[prefix + name] for name in PROBABILITIES] for row in rows]
        np.testing.assert_allclose(found, expected, atol=1e-6)
    for row in rows:
        mean = [(row[f"efficientnet_b0_{n}"] + row[f"efficientnet_b0_2_{n}"]) / 2 for n in PROBABILITIES]
        np.testing.assert_allclose([row[n] for n in PROBABILITIES], mean, atol=1e-6)
        assert row["label"] == LABELS[int(np.argmax(mean))]


def test_rows_name_their_models_their_run_and_their_time(both, batch):
    scored = both(batch)
    ids = [card.model_id for card in both.cards]
    (row, *_) = scored.to_pylist()
    assert row["model_id"] == "+".join(ids)
    assert [row["efficientnet_b0_model_id"], row["efficientnet_b0_2_model_id"]] == ids
    assert row["preprocessing_id"] == "+".join(card.preprocessing_id for card in both.cards)
    assert row["run_id"] == "run-1"
    assert (row["device"], row["engine"], row["precision"]) == ("cpu", "torch", "fp32")
    assert timedelta(0) <= datetime.now(UTC) - row["scored_at"] < timedelta(minutes=5)


def test_a_batch_of_errors_alone(both, batch):
    errors = batch.filter(pa.compute.equal(batch["status"], "error"))
    scored = both(errors)
    assert scored.schema.equals(both.schema)
    assert scored.num_rows == errors.num_rows > 1
    assert scored["label"].null_count == scored["prob_covid"].null_count == scored.num_rows
    assert scored["model_id"].null_count == 0


def test_an_empty_batch(one, batch):
    scored = one(batch.slice(0, 0))
    assert scored.num_rows == 0
    assert scored.schema.equals(one.schema)


def test_a_slice_of_a_batch_scores_as_the_whole(one, batch, scored):
    parts = pa.concat_tables([one(batch.slice(0, 3)), one(batch.slice(3))])
    assert parts["label"].to_pylist() == scored["label"].to_pylist()
    for name in PROBABILITIES:
        np.testing.assert_allclose(
            parts[name].to_numpy().astype(float), scored[name].to_numpy().astype(float), atol=1e-4
        )


def test_bf16_agrees_within_its_precision(uris, batch, scored):
    fast = make_stage(uris[0], precision="bf16")(batch)
    found, expected = (np.stack([t[n].to_numpy().astype(float) for n in PROBABILITIES]) for t in (fast, scored))
    np.testing.assert_allclose(found, expected, atol=0.05)


@pytest.mark.slow
def test_a_single_class_is_present_or_not(save_random, tmp_path, batch):
    save_random(tmp_path, labels=("Pneumonia",))
    rows = [row for row in make_stage(str(tmp_path))(batch).to_pylist() if row["status"] == "ok"]
    for row in rows:
        probability = row["prob_pneumonia"]
        assert row["label"] == ("Pneumonia" if probability > 0.5 else "not_Pneumonia")
        assert row["confidence"] == pytest.approx(max(probability, 1 - probability))


@pytest.mark.slow
def test_a_model_that_gives_nan_makes_errors_and_no_labels(save_random, tmp_path, batch):
    save_random(tmp_path / "whole", seed=1)
    save_random(tmp_path / "nan", seed=2, nan=True)
    scored = make_stage(str(tmp_path / "whole"), str(tmp_path / "nan"))(batch)
    assert set(scored["status"].to_pylist()) == {"error"}
    loaded = [status == "ok" for status in batch["status"].to_pylist()]
    kinds = scored["error_kind"].to_pylist()
    assert [kind == "not_finite" for kind in kinds] == loaded
    for name in ("label", "confidence", "prob_covid", "efficientnet_b0_label"):
        assert scored[name].null_count == scored.num_rows


def test_findings_of_several_models_are_called_at_the_thresholds_of_each_and_of_the_mean(batch, save_random, tmp_path):
    labels, thresholds = ("edema", "mass", "nodule"), {"one": (0.2, 0.4, 0.6), "two": (0.4, 0.4, 0.9)}
    for seed, (name, of_model) in enumerate(thresholds.items()):
        card = {"labels": labels, "temperatures": (1.0, 2.0, 3.0), "thresholds": of_model}
        save_random(tmp_path / name, seed=seed, card_type=MultilabelCard, **card)
    stage = make_stage(*(str(tmp_path / name) for name in thresholds))
    table = stage(batch)
    assert table.schema == predictions_schema(labels, stage.prefixes, finding_fields)
    assert not {"label", "confidence", "entropy"} & set(table.column_names)
    rows = [row for row in table.to_pylist() if row["status"] == "ok"]
    assert rows
    prefixes = dict(zip(stage.prefixes, thresholds.values(), strict=True)) | {"": (0.3, 0.4, 0.75)}
    calls = set()
    for row in rows:
        for prefix, of_prefix in prefixes.items():
            for label, threshold in zip(labels, of_prefix, strict=True):
                probability, call = row[f"{prefix}prob_{label}"], row[f"{prefix}label_{label}"]
                assert call == (probability >= threshold)
                calls.add(call)
        for label in labels:
            parts = [row[f"{prefix}prob_{label}"] for prefix in stage.prefixes]
            assert row[f"prob_{label}"] == pytest.approx(np.mean(parts), abs=1e-6)
    assert calls == {0, 1}
    failed = [row for row in table.to_pylist() if row["status"] == "error"]
    assert {row[f"label_{label}"] for row in failed for label in labels} == {None}


def test_classifiers_of_classes_and_of_findings_are_not_mixed(save_random, uris, tmp_path):
    card = {"labels": LABELS, "temperatures": (1.0,) * 4, "thresholds": (0.5,) * 4}
    save_random(tmp_path, card_type=MultilabelCard, **card)
    with pytest.raises(
        BundleError, match=r"is a multilabel_classifier, .* is a classifier; score them in separate jobs"
    ):
        make_stage(uris[0], str(tmp_path))
