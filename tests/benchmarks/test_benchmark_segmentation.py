"""The benchmark of segmentation by text measures its stages on real images and models, and takes ratios within a round."""

import json

import pytest

from cxr_ray.benchmarks.benchmark_segmentation import Measured, benchmark_segmentation, summary
from cxr_ray.config import BenchmarkSegmentationConfig
from cxr_ray.errors import DatasetError
from cxr_ray.phantoms.phantom_archive import write_phantom_archive


def test_the_ratio_is_that_within_a_round():
    rounds = [
        {
            "saliency": Measured(images_per_second=ours, peak_mebibytes=peak),
            "published_loop": Measured(images_per_second=theirs, peak_mebibytes=None),
        }
        for ours, theirs, peak in ((10.0, 1.0, 7.0), (30.0, 2.0, 9.0), (60.0, 3.0, 8.0))
    ]
    found = summary(rounds)
    assert found["saliency_to_published_loop"] == 15
    assert found["ratio_spread"] == [10, 20]
    assert found["stages"]["saliency"] == {"images_per_second": 30, "spread": [10, 60], "peak_mebibytes": 9}
    assert found["stages"]["published_loop"]["peak_mebibytes"] is None


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("archive"))
    return write_phantom_archive(folder, images_per_class=1, size=64, dicom_fraction=0.0, broken=0).uri


@pytest.mark.slow
def test_every_stage_is_measured(segmenting_weights, archive, tmp_path, capsys):
    config = BenchmarkSegmentationConfig(
        input_uri=archive, output_uri=str(tmp_path), **segmenting_weights,
        images=3, baseline_images=1, repeats=2, layer=1, device="cpu",
    )  # fmt: skip
    result = benchmark_segmentation(config)
    assert result == json.loads((tmp_path / "benchmark.json").read_text())
    assert json.loads((tmp_path / "run.json").read_text())["config"]["repeats"] == config.repeats
    stages = result["stages"]
    expected = ["load", "saliency", "coarse", "sam_encode", "sam_decode", "encode_masks", "published_loop"]
    assert list(stages) == expected
    assert all(stage["images_per_second"] > 0 for stage in stages.values())
    assert all(50 < stage["peak_mebibytes"] < 20_000 for stage in stages.values())
    assert result["saliency_to_published_loop"] > 1
    assert "published_loop" in capsys.readouterr().out


def test_too_few_images_are_refused(archive):
    with pytest.raises(DatasetError, match="lower --images 16"):
        benchmark_segmentation(BenchmarkSegmentationConfig(input_uri=archive, device="cpu"))
