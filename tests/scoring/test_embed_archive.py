"""Test of the embedding job on a real Ray cluster: rows, errors, resume, several encoders, and what other layers refuse."""

import json

import numpy as np
import pyarrow.compute as pc
import pytest

from cxr_ray import EmbedConfig, load_image, read_embeddings
from cxr_ray.archive.reconcile import rows_uri_of
from cxr_ray.archive.tables import read_table
from cxr_ray.errors import BundleError, ConfigError, ResumeError
from cxr_ray.models.encoder import Encoder
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.scoring.embed_archive import embed_archive


def embed(input_uri, output, *models, **options):
    options = {"max_error_rate": 1.0, "exclude": ("*/masks/*",), "precision": "fp32", "engine": "torch"} | options
    return embed_archive(EmbedConfig(input_uri=input_uri, output_uri=str(output), model_uri=models, **options))


@pytest.mark.cluster
@pytest.mark.slow
def test_every_file_is_one_row_and_the_same_command_adds_none(ray_cluster, save_encoder, save_random, tmp_path):
    save_encoder(tmp_path / "encoder", seed=1)
    save_random(tmp_path / "model", seed=2)
    archive = write_phantom_archive(str(tmp_path / "a"), images_per_class=2, size=64, broken=5, dicom_fraction=0.3)
    models = str(tmp_path / "encoder"), str(tmp_path / "model")
    counts = embed(archive.uri, tmp_path / "out", *models)
    rows = read_table(rows_uri_of(str(tmp_path / "out")))
    assert rows.num_rows == archive.images + 5 == len(set(rows["image_id"].to_pylist()))
    assert (counts["ok"], counts["error"]) == (archive.images, 5)
    kinds = dict(zip(rows["image_id"].to_pylist(), rows["error_kind"].to_pylist(), strict=True))
    assert {name: kinds[name] for name, _ in archive.broken} == dict(archive.broken)

    second = read_embeddings(str(tmp_path / "out"), "embedding_efficientnet_b0_2")
    assert (second.vectors.dtype, second.vectors.shape, second.failed) == (np.float16, (archive.images, 1280), 5)
    encoder = Encoder(models[1], device="cpu", precision="fp32")
    image = load_image(second.rows["uri"][0].as_py())
    (expected,) = encoder.embed(image.squashed(32, encoder.card.interpolation)[None])
    np.testing.assert_allclose(second.vectors[0], expected, rtol=2e-3, atol=max(6e-8, 2e-3 * np.abs(expected).max()))

    embed(archive.uri, tmp_path / "out", *models)
    assert read_table(rows_uri_of(str(tmp_path / "out"))).sort_by("image_id") == rows.sort_by("image_id")
    assert json.loads((tmp_path / "out/run.json").read_text())["images_scored"] == 0
    with pytest.raises(ResumeError, match=r"made with layer pooled; this command has layer blocks\.2"):
        embed(archive.uri, tmp_path / "out", *models, layer="blocks.2")
    with pytest.raises(ResumeError, match="made with model"):
        embed(archive.uri, tmp_path / "out", models[0])
    assert pc.all(pc.equal(rows["layer"], "pooled")).as_py()


def test_what_cannot_be_embedded_is_refused_before_a_cluster_is_asked_for(save_encoder, segmenter_uri, tmp_path):
    save_encoder(tmp_path / "encoder")
    with pytest.raises(ConfigError, match=r"encoder: layer cls needs a network with a class token"):
        embed("none", tmp_path / "out", str(tmp_path / "encoder"), layer="cls")
    with pytest.raises(BundleError, match="an encoder or a classifier is needed here"):
        embed("none", tmp_path / "out", segmenter_uri)
    assert not (tmp_path / "out").exists()
