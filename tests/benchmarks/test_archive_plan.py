"""The arithmetic of a plan, with round figures."""

import pytest

from cxr_ray.benchmarks.archive_costs import Estimate, LoadCost
from cxr_ray.benchmarks.archive_plan import Costs, cores_per_gpu, forecast, needed, seconds_per_image
from cxr_ray.config.planning import Machine


def loading(images, seconds, error=0.0, **facts):
    cost = {"format": "png", "size": "1-4 MiB", "sampled": 16, "errors": 0, "megapixels": 5.0} | facts
    return LoadCost(images=images, cpu_seconds=Estimate(mean=seconds, error=error), **cost)


def costs(**choice):
    kinds = (loading(750_000, 0.002, 0.0004), loading(250_000, 0.042, 0.004))
    given = {"loading": kinds, "core_seconds": Estimate(mean=0.088), "gpu_seconds": Estimate(mean=0.001)}
    return Costs(**given | {"start_seconds": 100.0} | choice)


def test_kinds_count_by_their_images():
    mean = costs().load_seconds
    assert mean.mean == pytest.approx(0.75 * 0.002 + 0.25 * 0.042)
    assert mean.error == pytest.approx(((0.75 * 0.0004) ** 2 + (0.25 * 0.004) ** 2) ** 0.5)


def test_on_cpus_loading_and_models_share_the_cores():
    told = forecast(costs(), Machine(name="m", cpus=10, dollars_per_hour=3.6), hours=1)
    assert told.images_per_second == pytest.approx(100)  # 0.1 s of a core each
    assert told.seconds == pytest.approx(100 + 10_000)
    assert told.seconds_error == pytest.approx(1e6 * costs().load_seconds.error / 10)
    assert told.machines == 3  # 10,000 s of work in 3,500 s
    assert told.dollars == pytest.approx(10.0 + 3 * 0.1)
    assert told.dollars_per_million == pytest.approx(10.0 + 0.1)  # of one machine, whose start is paid once
    assert told.gpu_busy is None


def test_a_gpu_waits_for_loading_if_it_has_too_few_cores():
    assert cores_per_gpu(costs()) == pytest.approx(12)
    few, many = (forecast(costs(), Machine(name="m", cpus=cpus, gpus=1), hours=1) for cpus in (3, 24))
    assert few.images_per_second == pytest.approx(3 / 0.012)
    assert few.gpu_busy == pytest.approx(0.25)
    assert many.images_per_second == pytest.approx(1000)
    assert many.gpu_busy == 1


def test_factors_scale_cores_and_gpus():
    machine = Machine(name="m", cpus=3, gpus=2, cpu_factor=2, gpu_factor=0.1)
    assert seconds_per_image(costs(), machine).mean == pytest.approx(0.001 / 0.2)
    assert forecast(costs(), machine, hours=1).loads_per_second == pytest.approx(6 / 0.012)


def test_a_device_that_was_not_measured_has_no_rate():
    told = forecast(costs(gpu_seconds=None), Machine(name="m", cpus=12, gpus=1, dollars_per_hour=1), hours=1)
    assert (told.images_per_second, told.seconds, told.machines, told.dollars_per_million) == (None,) * 4
    assert told.loads_per_second == pytest.approx(1000)
    assert forecast(costs(core_seconds=None), Machine(name="m", cpus=12), hours=1).images_per_second is None


def test_no_number_of_machines_ends_before_the_start_does():
    assert forecast(costs(), Machine(name="m", cpus=10), hours=0.01).machines is None
    assert needed(costs(), 0.1, hours=0.01) is None


def test_what_is_needed_in_time():
    assert needed(costs(), 0.1, hours=1) == 29  # 100,000 s of work, 3,500 s each
    assert needed(costs(), None, hours=1) is None
