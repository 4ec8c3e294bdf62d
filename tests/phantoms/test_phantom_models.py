"""Segmentation by text from end to end, with a CLIP and a SAM that the test trains, on phantoms that they never saw."""

import json

import numpy as np
import pytest

from cxr_ray.config import PhantomModelsConfig
from cxr_ray.phantoms.make_phantom_models import make_phantom_models
from cxr_ray.phantoms.phantom import draw_phantom
from cxr_ray.phantoms.phantom_clip import mask_cosine
from cxr_ray.phantoms.phantom_models import LEFT, RIGHT, lung_sides, phantom_views


@pytest.mark.slow
def test_text_leads_to_the_lungs_of_held_phantoms(tmp_path, capsys):
    scores = make_phantom_models(PhantomModelsConfig(output_uri=str(tmp_path)))
    assert scores.dsc > 0.8
    assert scores.dsc > scores.coarse_dsc + 0.05, "SAM draws what the coarse mask only points to"
    assert json.loads((tmp_path / "run.json").read_text())["scores"]["dsc"] == scores.dsc
    assert f"--clip-uri {tmp_path}/clip --sam-uri {tmp_path}/sam.safetensors" in capsys.readouterr().out


@pytest.mark.slow
def test_held_phantoms_are_other_patients_of_various_proportions():
    learned, held = phantom_views(8, seed=0), phantom_views(8, seed=0, held_out=True)
    assert not {view.patient_id for view in learned} & {view.patient_id for view in held}
    assert len({view.pixels.shape for view in held}) > 4
    for view in held:
        assert view.pixels.shape == view.lung_mask.shape
        assert view.lung_mask.any()


def test_sides_are_the_patients():
    sides = lung_sides(draw_phantom("Normal", seed=3, size=64).lung_mask)
    assert np.nonzero(sides == RIGHT)[1].mean() < 32 < np.nonzero(sides == LEFT)[1].mean()


def test_the_cosine_of_masks():
    whole = np.array([True, True, True, True])
    half = np.array([True, True, False, False])
    assert mask_cosine(whole, half) == pytest.approx(0.5**0.5)
    assert mask_cosine(half, ~half) == 0
    assert mask_cosine(~whole, ~whole) == 1
    assert mask_cosine(whole, ~whole) == 0
