"""The benchmark of segmenters and the cascade: the ratios of its summary, and one real run."""

import json

import pytest

from cxr_ray.benchmarks.benchmark_cascade import SEGMENTED, benchmark_cascade, summary
from cxr_ray.config import BenchmarkCascadeConfig
from cxr_ray.phantoms.phantom_archive import write_phantom_archive


def test_ratios_are_taken_within_rounds():
    rounds = [
        {"segment": 9.0, "segment_forward_only": 10.0, "classify": 50.0, "cascade": 8.0, SEGMENTED: 0.5},
        {"segment": 18.0, "segment_forward_only": 20.0, "classify": 12.0, "cascade": 10.0, SEGMENTED: 0.5},
    ]
    result = summary(rounds)
    assert result["segment_to_forward_only"] == pytest.approx(0.9)
    assert result["cascade_time_to_slower_job"] == pytest.approx((9 / 8 + 12 / 10) / 2)
    assert result["spread"]["segment"] == [9.0, 18.0]


@pytest.mark.cluster
@pytest.mark.slow
def test_a_benchmark_reports_all_three_jobs(ray_cluster, save_random, segmenter_uri, tmp_path, capsys):
    archive = write_phantom_archive(str(tmp_path / "in"), images_per_class=12, size=64, dicom_fraction=0.0, broken=0)
    save_random(tmp_path / "classifier")
    config = BenchmarkCascadeConfig(
        input_uri=archive.uri,
        classifier_uri=str(tmp_path / "classifier"),
        segmenter_uri=segmenter_uri,
        output_uri=str(tmp_path / "out"),
        repeats=1,
    )
    result = benchmark_cascade(config)
    assert result == json.loads((tmp_path / "out/benchmark.json").read_text())
    assert json.loads((tmp_path / "out/run.json").read_text())["config"]["repeats"] == config.repeats
    rates = result["images_per_second"]
    assert all(rate > 0 for rate in rates.values())
    assert result[SEGMENTED] == 1
    assert result["segment_to_forward_only"] == pytest.approx(rates["segment"] / rates["segment_forward_only"])
    assert "segment / segment_forward_only" in capsys.readouterr().out
