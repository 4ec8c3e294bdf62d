import json
import shutil

import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.archive.embeddings import read_embeddings
from cxr_ray.errors import BundleError, DatasetError
from cxr_ray.models.bundle import read_card
from cxr_ray.models.classifier import Classifier
from cxr_ray.models.encoder import Encoder, read_encoder_card
from cxr_ray.models.engines.agreement import check_pixels
from cxr_ray.probing.joined_bundle import encoder_id_of, find_encoder, only_value, save_joined
from cxr_ray.probing.linear_probe import LinearProbe

LABELS = ("a", "b", "c")


def probe_of(features, *, seed=0):
    random = np.random.default_rng(seed)
    return LinearProbe(weights=random.normal(size=(3, features)), bias=random.normal(size=3), strength=1.0)


@pytest.fixture
def rows(embedded):
    return read_embeddings(embedded.uri).rows


def with_column(rows, name, values):
    return rows.set_column(rows.column_names.index(name), name, pa.array(values, rows[name].type))


@pytest.mark.parametrize(
    ("backbone", "network", "size"),
    [
        ("efficientnet_b0", None, 32),
        ("test_vit", {"img_size": 32}, 32),
        pytest.param("deit_tiny_distilled_patch16_224", {"img_size": 32}, 32, marks=pytest.mark.slow),
    ],
)
def test_the_classifier_computes_the_probe_on_the_features_of_the_encoder(
    save_encoder, tmp_path, backbone, network, size
):
    uri, output = str(tmp_path / "encoder"), str(tmp_path / "joined")
    own = save_encoder(uri, backbone=backbone, network=network, image_size=size, source={"licence": "mit"})
    probe = probe_of(own.features)
    card = save_joined(output, (uri, own), probe, LABELS, temperature=2.0)
    assert card == read_card(output)
    assert (card.labels, card.temperature, card.source) == (LABELS, 2.0, {"licence": "mit", "encoder": own.model_id})
    assert card.preprocessing_id == own.preprocessing_id
    pixels = check_pixels(size)
    logits = probe.logits(Encoder(uri, device="cpu", precision="fp32").embed(pixels)) / 2
    expected = np.exp(logits - logits.max(1, keepdims=True))
    found = Classifier(output, device="cpu", precision="fp32").predict(pixels)
    np.testing.assert_allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-3)


def test_the_head_of_a_classifier_is_replaced(save_random, tmp_path):
    save_random(tmp_path / "model")
    uri = str(tmp_path / "model")
    card = save_joined(str(tmp_path / "joined"), (uri, read_encoder_card(uri)), probe_of(1280), LABELS)
    assert (card.kind, card.labels, card.backbone) == ("classifier", LABELS, "efficientnet_b0")


def test_a_probe_that_no_head_can_hold_is_refused(save_encoder, tmp_path):
    own = save_encoder(tmp_path / "encoder", backbone="test_vit", network={"img_size": 32})
    with pytest.raises(
        BundleError, match=r"the probe of 5 features fits no head of test_vit \(head\.weight \(3, 64\), "
    ):
        save_joined(str(tmp_path / "out"), (str(tmp_path / "encoder"), own), probe_of(5), LABELS)


def test_the_encoder_is_the_one_that_the_record_names(embedded, rows, tmp_path):
    for uri in (embedded.uri, f"{embedded.uri}/embeddings", f"{embedded.uri}/embeddings/0.parquet"):
        found, card = find_encoder(uri, rows, "embedding", model_uri=None)
        assert found == embedded.encoder_uri
        assert card.model_id == rows["model_id"][0].as_py()
    moved = shutil.copytree(embedded.encoder_uri, tmp_path / "moved")
    assert find_encoder("nowhere", rows, "embedding", model_uri=str(moved))[0] == str(moved)


def test_another_encoder_is_refused(embedded, rows, save_encoder, tmp_path):
    other = save_encoder(tmp_path / "other", backbone="test_resnet", network={}, seed=5)
    own = rows["model_id"][0].as_py()
    message = f"the embeddings are of {own}, whose bundle was not found: .*other holds {other.model_id}; name it by --model-uri"
    with pytest.raises(BundleError, match=message):
        find_encoder(embedded.uri, rows, "embedding", model_uri=str(tmp_path / "other"))
    with pytest.raises(BundleError, match=r"was not found: no run\.json names it; name it by --model-uri"):
        find_encoder(str(tmp_path / "out"), rows, "embedding", model_uri=None)
    record = json.loads((embedded.folder / "out/run.json").read_text())
    record["config"]["model_uri"] = [str(tmp_path / "gone")]
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(BundleError, match=f"no model bundle at {tmp_path}/gone.*; name it by --model-uri"):
        find_encoder(f"{tmp_path}/embeddings", rows, "embedding", model_uri=None)
    prepared = with_column(rows, "preprocessing_id", ["0" * 12] * rows.num_rows)
    with pytest.raises(BundleError, match="is prepared otherwise than the embeddings were; embed again"):
        find_encoder(embedded.uri, prepared, "embedding", model_uri=None)


def test_only_pooled_features_of_one_model_are_joined(embedded, rows):
    layer = with_column(rows, "layer", ["blocks.2"] * rows.num_rows)
    with pytest.raises(
        DatasetError, match=r"embeddings of the layer blocks\.2 cannot be joined .* add --no-bundle to judge"
    ):
        find_encoder(embedded.uri, layer, "embedding", model_uri=None)
    mixed = with_column(rows, "model_id", ["m1"] + ["m2"] * (rows.num_rows - 1))
    with pytest.raises(DatasetError, match="the embeddings differ in model_id: m1, m2; name a table of one kind"):
        only_value(mixed, "model_id")
    several = rows.append_column("resnet50_model_id", pa.array(["r-1"] * rows.num_rows))
    assert encoder_id_of(several, "embedding_resnet50") == "r-1"
