"""The benchmark of scoring: one real run."""

import json

import pytest

from cxr_ray.archive.tables import read_table
from cxr_ray.benchmarks.benchmark_files import read_benchmarks
from cxr_ray.benchmarks.benchmark_scoring import benchmark_scoring
from cxr_ray.config import BenchmarkConfig
from cxr_ray.models.backbones import build_backbone
from cxr_ray.models.bundle import save_bundle
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.schema import LABELS


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
        forward_images=96,
        dollars_per_hour=1.0,
    )
    result = benchmark_scoring(config)
    assert result == json.loads((tmp_path / "out/benchmark.json").read_text())
    assert json.loads((tmp_path / "out/run.json").read_text())["config"]["repeats"] == config.repeats
    assert {"forward_torch", "forward_openvino"} <= result["images_per_second"].keys()
    assert all(rate > 0 for rate in result["images_per_second"].values())
    (read,) = read_benchmarks([str(tmp_path / "out/benchmark.json")])
    assert (read.device, read.start_seconds > 0) == (result["device"], True)
    rates = result["images_per_second"]
    assert result["job_steady_to_forward_only"] == pytest.approx(rates["job_steady"] / rates["forward_only"])
    assert result["dollars_per_million_images"] == pytest.approx(1e6 / 3600 / rates["job_steady"])
    assert result["job_whole_to_dataloader_fp32"] == pytest.approx(rates["job_whole"] / rates["dataloader_fp32_whole"])
    rows = read_table(str(tmp_path / "out/round-0/predictions"), ["image_id"]).num_rows
    assert 0 < result["first_batch_seconds"] < rows / rates["job_whole"]
    assert "job_steady / forward_only" in capsys.readouterr().out
