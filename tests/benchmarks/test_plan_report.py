"""The text of a plan fits on a screen and names what makes a GPU wait."""

from cxr_ray.benchmarks.archive_costs import Estimate, LoadCost
from cxr_ray.benchmarks.archive_plan import Costs, Plan, cores_per_gpu, forecast
from cxr_ray.benchmarks.plan_report import duration, report
from cxr_ray.config.planning import Machine


def plan(gpu_seconds, machines, kinds=1):
    loading = [
        LoadCost(
            format="png", size="16-64 KiB", images=900, sampled=32, errors=0, megapixels=0.05,
            cpu_seconds=Estimate(mean=0.002, error=0.0001),
        ),
        *(
            LoadCost(
                format="dicom", size=f"{i} MiB", images=100, sampled=16, errors=2, megapixels=5.1,
                cpu_seconds=Estimate(mean=0.043, error=0.002),
            )
            for i in range(kinds)
        ),
    ]  # fmt: skip
    costs = Costs(loading=tuple(loading), core_seconds=Estimate(mean=0.1), gpu_seconds=gpu_seconds, start_seconds=20.0)
    told = tuple(forecast(costs, machine, 10) for machine in machines)
    return Plan(
        models=("resnet50-0123",), hours=10, source="benchmarks", costs=costs, cores_per_gpu=cores_per_gpu(costs),
        cores_in_time=30, gpus_in_time=gpu_seconds and 2, load_cores_in_time=7, forecasts=told,
    )  # fmt: skip


def test_kinds_over_which_a_gpu_waits_are_named():
    text = report(plan(Estimate(mean=0.001), [Machine(name="big", cpus=4, gpus=1, dollars_per_hour=1)]))
    assert "cores per GPU: 6.1" in text
    assert "big: the GPU computes for 66% of the time; of the time with dicom 0 MiB: 9%" in text
    assert "for 10 h: 30 cores without a GPU, or 2 GPUs with 7 cores in all" in text
    assert "43.00 +- 3.92" in text
    assert "70%  2 of 16 not decoded" in text


def test_a_gpu_that_was_not_measured_is_said():
    text = report(plan(None, [Machine(name="here", cpus=2), Machine(name="big", cpus=61, gpus=1)]))
    assert "cores per GPU: 6.1 for each 1,000 images/s that a GPU scores" in text
    assert "loads 10,000 images/s; the models were not measured on a GPU" in text
    assert "18.9" in next(line for line in text.splitlines() if line.startswith("  here"))  # images/s


def test_many_kinds_still_fit_on_a_screen():
    lines = report(plan(None, [Machine(name="here", cpus=2)], kinds=30)).splitlines()
    assert len(lines) < 25
    assert "  and 19 kinds that cost less" in lines


def test_a_duration_has_the_unit_that_suits_it():
    assert [duration(s) for s in (45, 180, 45_000)] == ["45 s", "3.0 min", "12.5 h"]
