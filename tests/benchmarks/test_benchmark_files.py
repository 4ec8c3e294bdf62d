"""Benchmarks of other machines are read, and refused if they are of other models."""

import json

import pytest

from cxr_ray.benchmarks.benchmark_files import forward_seconds, read_benchmarks
from cxr_ray.errors import DatasetError

MODELS = (("resnet50-01", "aa"), ("vit_b16-02", "bb"))


@pytest.fixture
def benchmarks(tmp_path):
    def write(*changes):
        uris = []
        for place, change in enumerate(changes):
            model_id, preprocessing_id = MODELS[place % 2]
            content = {
                "model_id": model_id,
                "preprocessing_id": preprocessing_id,
                "device": "cuda",
                "cpus": 16,
                "start_seconds": 20.0,
                "images_per_second": {"forward_only": 1000.0, "job_steady": 900.0},
            }
            uris.append(str(tmp_path / f"{place}.json"))
            (tmp_path / f"{place}.json").write_text(json.dumps(content | change))
        return read_benchmarks(uris)

    return write


def test_the_passes_of_several_models_add_up_on_each_device(benchmarks):
    on_cpu = {"device": "cpu", "cpus": 2, "images_per_second": {"forward_only": 10.0}}
    read = benchmarks({}, {"images_per_second": {"forward_only": 500.0}}, on_cpu, on_cpu)
    assert forward_seconds(read, MODELS) == {"cuda": pytest.approx(0.003), "cpu": pytest.approx(0.4)}


def test_a_benchmark_of_another_model_is_refused(benchmarks):
    with pytest.raises(DatasetError, match="resnet50-01 with preprocessing cc, which is none of the models"):
        forward_seconds(benchmarks({"preprocessing_id": "cc"}), MODELS)


@pytest.mark.parametrize("count", [1, 3])
def test_each_model_needs_one_benchmark(benchmarks, count):
    with pytest.raises(DatasetError, match=f"2 models need one benchmark each on cuda; got . models in {count} files"):
        forward_seconds(benchmarks(*[{}] * count), MODELS)


def test_another_file_is_refused_with_its_first_fault(benchmarks):
    with pytest.raises(DatasetError, match=r"0.json is no result of benchmark_scoring.py: images_per_second"):
        benchmarks({"images_per_second": {"forward_only": 0}})
