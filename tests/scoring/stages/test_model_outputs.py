import numpy as np
import pytest

from cxr_ray.imaging.limits import DecodeLimits
from cxr_ray.schema import TOO_LARGE_FOR_FLOAT16
from cxr_ray.scoring.patient_secret import PatientSecret
from cxr_ray.scoring.stages.load import Geometry, LoadStage
from cxr_ray.scoring.stages.model_outputs import joint_model_id, model_prefixes, refuse_not_finite


@pytest.fixture(scope="module")
def batch(archive):
    geometry, limits = Geometry(image_size=32, interpolation="bilinear"), DecodeLimits(max_megapixels=1)
    (table,) = LoadStage(geometries=(geometry,), limits=limits, patient_secret=PatientSecret(b"s"))(archive)
    return table


@pytest.mark.parametrize(
    ("backbones", "prefixes"),
    [
        (["vit_b16"], ()),
        (["vit_b16", "resnet50"], ("vit_b16_", "resnet50_")),
        (["resnet50", "vit_b16", "resnet50", "resnet50"], ("resnet50_", "vit_b16_", "resnet50_2_", "resnet50_3_")),
    ],
)
def test_model_prefixes(backbones, prefixes):
    assert model_prefixes(backbones) == prefixes


def test_joint_model_id():
    assert joint_model_id(["a-1"]) == "a-1"
    assert joint_model_id(["a-1", "b-2"]) == "a-1+b-2"


def test_only_the_row_that_is_not_finite_is_refused(batch):
    present = np.array([status == "ok" for status in batch["status"].to_pylist()])
    probs = np.full((present.sum(), 4), 0.25, np.float32)
    probs[1, 2] = np.inf
    table, (kept,), still = refuse_not_finite(batch, [probs], present)
    second = np.flatnonzero(present)[1]
    assert np.flatnonzero(present & ~still).tolist() == [second]
    assert kept.shape == (present.sum() - 1, 4)
    assert table["error_kind"][int(second)].as_py() == "not_finite"
    assert table["image_id"].equals(batch["image_id"])


def test_why_a_row_is_refused_is_said_in_the_words_that_are_given(batch):
    present = np.array([status == "ok" for status in batch["status"].to_pylist()])
    halves = np.full((present.sum(), 2), np.inf, np.float16)
    table, (kept,), still = refuse_not_finite(batch, [halves], present, TOO_LARGE_FOR_FLOAT16)
    assert not still.any()
    assert len(kept) == 0
    (error,) = {row["error"] for row in table.to_pylist() if row["error_kind"] == "not_finite"}
    assert "65,504" in error
