"""The benchmark: its arithmetic, and one real run."""

import json
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.config import BenchmarkConfig
from cxr_ray.imaging.phantom_archive import write_phantom_archive
from cxr_ray.models.backbones import build_backbone
from cxr_ray.models.bundle import save_bundle
from cxr_ray.schema import LABELS, TIMESTAMP
from cxr_ray.scoring.benchmark_scoring import benchmark_scoring, forward_rate, steady_rate


def test_the_steady_rate_leaves_out_the_start():
    start = datetime(2026, 1, 1, tzinfo=UTC)
    slow = [start + timedelta(seconds=60 * i) for i in range(10) for _ in range(10)]
    fast = [slow[-1] + timedelta(seconds=i + 1) for i in range(90) for _ in range(10)]
    rate = steady_rate(pa.chunked_array([pa.array(slow + fast, TIMESTAMP)]))
    assert rate == pytest.approx(10, rel=1e-6)


def test_the_forward_rate_counts_images_and_not_the_warm_up():
    calls = []

    def predict(batch):
        calls.append(len(batch))
        time.sleep(0.3 if len(calls) == 1 else 0.01 * len(batch))

    rate = forward_rate(predict, np.zeros((25, 2, 2), np.uint8), batch_size=10)
    assert calls == [10, 10, 10, 5]
    assert 60 < rate <= 100


@pytest.mark.cluster
@pytest.mark.slow
def test_a_benchmark_reports_every_stage(ray_cluster, tmp_path, capsys):
    archive = write_phantom_archive(str(tmp_path / "in"), images_per_class=25, size=64, dicom_fraction=0.0, broken=0)
    model = build_backbone("efficientnet_b0", num_classes=4, image_size=32)
    save_bundle(
        str(tmp_path / "model"),
        model.state_dict(),
        kind="classifier",
        backbone="efficientnet_b0",
        labels=LABELS,
        image_size=32,
    )
    config = BenchmarkConfig(
        input_uri=archive.uri,
        model_uri=str(tmp_path / "model"),
        output_uri=str(tmp_path / "out"),
        repeats=1,
        peer_images=96,
        dollars_per_hour=1.0,
    )
    result = benchmark_scoring(config)
    assert result == json.loads((tmp_path / "out/benchmark.json").read_text())
    assert all(rate > 0 for rate in result["images_per_second"].values())
    rates = result["images_per_second"]
    assert result["job_steady_to_forward_only"] == pytest.approx(rates["job_steady"] / rates["forward_only"])
    assert result["dollars_per_million_images"] == pytest.approx(1e6 / 3600 / rates["job_steady"])
    assert "job_steady / forward_only" in capsys.readouterr().out
