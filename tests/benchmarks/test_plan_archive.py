"""A plan for drawn archives: one run that measures everything, and quick ones that read benchmarks."""

import json

import pytest

from cxr_ray.archive.manifest import write_manifest
from cxr_ray.benchmarks import archive_costs
from cxr_ray.benchmarks.archive_sample import sample_archive
from cxr_ray.benchmarks.plan_archive import plan_archive
from cxr_ray.benchmarks.planned_job import planned_job
from cxr_ray.cluster.nodes import NodeRoom
from cxr_ray.config import PlanConfig
from cxr_ray.errors import BundleError
from cxr_ray.models.bundle import read_card
from cxr_ray.phantoms.phantom_archive import write_phantom_archive
from cxr_ray.scoring.pool import fit_pool


@pytest.fixture(scope="module")
def manifest_uri(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    archive = write_phantom_archive(str(folder / "in"), images_per_class=12, size=64, dicom_fraction=0.5, broken=4)
    write_manifest(archive.uri, str(folder / "manifest.parquet"), exclude=("*/masks/*",), recognise_all=True)
    return str(folder / "manifest.parquet")


@pytest.fixture
def benchmark_uri(tmp_path):
    def write(model_uri, device, rate):
        card = read_card(model_uri)
        content = {
            "model_id": card.model_id,
            "preprocessing_id": card.preprocessing_id,
            "device": device,
            "cpus": 2,
            "start_seconds": 20.0,
            "images_per_second": {"forward_only": rate},
        }
        (tmp_path / f"{device}.json").write_text(json.dumps(content))
        return str(tmp_path / f"{device}.json")

    return write


@pytest.fixture(autouse=True)
def _no_cluster_to_join(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "local")


@pytest.mark.slow
@pytest.mark.cluster
def test_a_plan_is_measured(manifest_uri, save_random, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(archive_costs, "FORWARD_SECONDS", 1.0)
    uris = (str(tmp_path / "a"), str(tmp_path / "b"))
    cards = [save_random(uri, seed=seed, image_size=32 + seed) for seed, uri in enumerate(uris)]
    plan = plan_archive(
        PlanConfig(
            manifest_uri=manifest_uri,
            model_uri=uris,
            sample_images=32,
            device="cpu",
            output_uri=str(tmp_path / "plan.json"),
            machines={"big": {"cpus": 64, "dollars_per_hour": 2.0}},
        )
    )
    assert plan.models == tuple(card.model_id for card in cards)
    costs, (here, big) = plan.costs, plan.forecasts[:: len(plan.forecasts) - 1]
    assert {kind.format for kind in costs.loading} >= {"png", "dicom"}
    assert all(0.0001 < kind.cpu_seconds.mean < 1 for kind in costs.loading)
    assert 0.0005 < costs.core_seconds.mean < 10
    assert costs.start_seconds > 2
    assert here.seconds > costs.start_seconds
    assert here.images_per_second < big.images_per_second
    assert json.loads((tmp_path / "plan.json").read_text())["costs"]["images"] == costs.images
    assert "big" in capsys.readouterr().out


def test_a_gpu_is_planned_from_its_benchmark(manifest_uri, save_random, benchmark_uri, tmp_path):
    uri = str(tmp_path / "bundle")
    save_random(uri)
    plan = plan_archive(
        PlanConfig(
            manifest_uri=manifest_uri,
            model_uri=(uri,),
            benchmark_uri=(benchmark_uri(uri, "cuda", 1e5),),
            sample_images=16,
            machines={"gpu": {"cpus": 4, "gpus": 1}},
        )
    )
    told = plan.forecasts[-1]
    assert plan.cores_per_gpu == pytest.approx(plan.costs.load_seconds.mean * 1e5)
    assert told.images_per_second == pytest.approx(told.loads_per_second)
    assert told.gpu_busy == pytest.approx(4 / plan.cores_per_gpu)
    assert plan.costs.start_seconds == 20
    assert (plan.gpus_in_time, plan.cores_in_time) == (1, None)


def test_a_segmenter_is_measured_with_the_stage_of_its_job(manifest_uri, segmenter_uri, monkeypatch):
    monkeypatch.setattr(archive_costs, "FORWARD_SECONDS", 0.1)
    job = planned_job(PlanConfig(manifest_uri=manifest_uri, model_uri=(segmenter_uri,)))
    _, loaded = archive_costs.measure_loading(job, sample_archive(manifest_uri, 16, seed=0))
    pool = fit_pool([NodeRoom(cpus=2)], "cpu", None, job.actors_per_group)
    assert (pool.actors, pool.threads_per_actor) == (2, 1)
    cost = archive_costs.measure_forward(job, pool, loaded)
    assert 0 < cost.write_seconds < cost.seconds.mean < 1


def test_a_segmenter_is_planned_alone(manifest_uri, segmenter_uri, save_random, tmp_path):
    save_random(tmp_path / "bundle")
    with pytest.raises(BundleError, match="are not all classifiers; plan for a segmenter alone"):
        plan_archive(PlanConfig(manifest_uri=manifest_uri, model_uri=(segmenter_uri, str(tmp_path / "bundle"))))
