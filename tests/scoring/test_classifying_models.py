"""Tests of which classifiers one job accepts together, and of their geometries, without Ray."""

import pytest

from cxr_ray.errors import BundleError
from cxr_ray.scoring.classify_archive import geometries, read_cards
from cxr_ray.scoring.stages.load import Geometry


def test_models_of_one_geometry_share_their_pixels(save_random, tmp_path):
    save_random(tmp_path / "one", seed=1)
    save_random(tmp_path / "two", seed=2, image_size=48, interpolation="bicubic")
    save_random(tmp_path / "three", seed=3)
    cards = read_cards([str(tmp_path / name) for name in ("one", "two", "three")])
    assert len({card.model_id for card in cards}) == 3
    assert geometries(cards) == (
        Geometry(image_size=32, interpolation="bilinear"),
        Geometry(image_size=48, interpolation="bicubic"),
    )


def test_models_of_different_labels_are_refused(save_random, tmp_path):
    save_random(tmp_path / "one")
    save_random(tmp_path / "two", labels=("Normal", "Pneumonia"))
    uris = [str(tmp_path / "one"), str(tmp_path / "one"), str(tmp_path / "two")]
    with pytest.raises(
        BundleError,
        match=r"/two predicts \('Normal', 'Pneumonia'\), .*/one predicts .*; score bundles of different",
    ):
        read_cards(uris)
    assert len(read_cards(uris[:2])) == 2
