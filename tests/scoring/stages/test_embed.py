import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.archive.embeddings import vectors_of
from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.models.encoder import Encoder
from cxr_ray.schema import PROVENANCE_FIELDS, embeddings_schema
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.embed import EmbedStage
from cxr_ray.scoring.stages.load import Geometry, LoadStage, pixels_of

SMALL = Geometry(image_size=32, interpolation="bilinear")
LARGE = Geometry(image_size=48, interpolation="bicubic")

pytestmark = pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")


@pytest.fixture(scope="module")
def batch(archive):
    limits = DecodeLimits(max_megapixels=1)
    (table,) = LoadStage(geometries=(SMALL, LARGE), limits=limits, patient_secret=PatientSecret(b"s"))(archive)
    return table


@pytest.fixture(scope="module")
def uris(save_encoder, save_random, tmp_path_factory):
    """URIs of the bundles of an encoder and of a classifier, of different weights and geometry."""
    folder = tmp_path_factory.mktemp("bundles")
    save_encoder(folder / "one", seed=1)
    save_random(folder / "two", seed=2, image_size=48, interpolation="bicubic")
    return str(folder / "one"), str(folder / "two")


def make_stage(*uris, sizes=(1280, 1280), layer="pooled"):
    options = {"device": "cpu", "engine": "torch", "precision": "fp32", "threads": 1, "run_id": "run-1"}
    return EmbedStage(model_uris=uris, layer=layer, sizes=sizes[: len(uris)], **options)


@pytest.fixture(scope="module")
def one(uris):
    return make_stage(uris[0])


@pytest.fixture(scope="module")
def both(uris):
    return make_stage(*uris)


def test_each_encoder_has_a_column_of_its_own_features(both, uris, batch):
    table = both(batch)
    assert table.schema.equals(embeddings_schema((1280, 1280), ("efficientnet_b0_", "efficientnet_b0_2_")))
    ok = table.filter(pa.compute.equal(table["status"], "ok"))
    for name, uri, geometry in (
        ("embedding_efficientnet_b0", uris[0], SMALL),
        ("embedding_efficientnet_b0_2", uris[1], LARGE),
    ):
        expected = Encoder(uri, device="cpu", precision="fp32").embed(pixels_of(batch, geometry)[0])
        found = vectors_of(ok[name]).astype(np.float32)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=max(6e-8, 1e-3 * np.abs(expected).max()))
    assert set(ok["efficientnet_b0_model_id"].to_pylist()) == {both.cards[0].model_id}
    assert set(ok["model_id"].to_pylist()) == {"+".join(card.model_id for card in both.cards)}


def test_an_embedding_is_null_where_the_status_is_error_and_nowhere_else(one, batch):
    table = one(batch)
    is_error = [status == "error" for status in table["status"].to_pylist()]
    assert True in is_error
    assert False in is_error
    assert table["embedding"].is_null().to_pylist() == is_error
    for name in (field.name for field in PROVENANCE_FIELDS):
        assert table[name].null_count == 0
    assert set(table["layer"].to_pylist()) == {"pooled"}
    assert table["image_id"].equals(batch["image_id"])


def test_batches_of_errors_alone_and_of_nothing(both, batch):
    errors = batch.filter(pa.compute.equal(batch["status"], "error"))
    table = both(errors)
    assert table["embedding_efficientnet_b0"].null_count == table.num_rows == errors.num_rows > 1
    assert both(batch.slice(0, 0)).schema.equals(both.schema)


@pytest.mark.slow
def test_features_beyond_float16_and_features_that_are_no_numbers_are_errors(save_encoder, tmp_path, batch):
    import torch

    from cxr_ray.models.backbones import build_network
    from cxr_ray.models.bundle import save_bundle
    from cxr_ray.models.encoder_card import EncoderCard

    for value, words in ((1e6, "beyond 65,504"), (float("nan"), "not a finite number")):
        torch.manual_seed(0)
        model = build_network("efficientnet_b0", num_classes=0, image_size=32)
        torch.nn.init.constant_(model.bn2.bias, value)
        uri = str(tmp_path / words)
        save_bundle(uri, model.state_dict(), EncoderCard, backbone="efficientnet_b0", image_size=32, features=1280)
        table = make_stage(uri)(batch)
        loaded = [status == "ok" for status in batch["status"].to_pylist()]
        assert set(table["status"].to_pylist()) == {"error"}
        assert [kind == "not_finite" for kind in table["error_kind"].to_pylist()] == loaded
        assert {error for error, ok in zip(table["error"].to_pylist(), loaded, strict=True) if ok and words in error}
        assert table["embedding"].null_count == table.num_rows
