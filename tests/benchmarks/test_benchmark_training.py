import json
from dataclasses import replace

import pytest

from cxr_ray.benchmarks.benchmark_training import benchmark_training, summary
from cxr_ray.config import BenchmarkTrainingConfig
from cxr_ray.errors import DatasetError
from cxr_ray.phantoms.phantom_archive import write_phantom_archive


def test_the_ratio_is_that_within_a_round():
    rounds = [{"ray_train": r, "plain_loop": p} for r, p in ((10.0, 20.0), (30.0, 20.0), (18.0, 20.0))]
    found = summary(rounds)
    assert found["ray_train_to_plain_loop"] == pytest.approx(0.9)
    assert found["ratio_spread"] == [0.5, 1.5]
    assert found["images_per_second"] == {"ray_train": 18.0, "plain_loop": 20.0}
    assert found["spread"]["ray_train"] == [10.0, 30.0]


@pytest.mark.cluster
@pytest.mark.slow
def test_both_are_measured(ray_cluster, tmp_path, capsys):
    from cxr_ray.config import PrepareConfig
    from cxr_ray.preparation.prepare_dataset import prepare_dataset

    archive = write_phantom_archive(str(tmp_path / "in"), images_per_class=12, size=32, dicom_fraction=0.0, broken=0)
    prepare_dataset(PrepareConfig(input_uri=archive.uri, output_uri=str(tmp_path / "dataset.parquet")))
    config = BenchmarkTrainingConfig(
        dataset_uri=str(tmp_path / "dataset.parquet"), output_uri=str(tmp_path), image_size=32, batch_size=8,
        epochs=2, repeats=1,
    )  # fmt: skip
    with pytest.raises(DatasetError, match=r"training images are too few for a batch_size of 64; lower --batch-size"):
        benchmark_training(replace(config, batch_size=64))
    result = benchmark_training(config)
    assert result == json.loads((tmp_path / "benchmark.json").read_text())
    assert json.loads((tmp_path / "run.json").read_text())["config"]["repeats"] == config.repeats
    figures = result["backbones"]["efficientnet_b0"]
    assert all(rate > 0 for rate in figures["images_per_second"].values())
    assert "efficientnet_b0: " in capsys.readouterr().out
