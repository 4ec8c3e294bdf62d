"""Arithmetic of a plan: from the costs of an image to rates, hours, machines and dollars."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from cxr_ray.benchmarks.archive_costs import Estimate, LoadCost
from cxr_ray.config.planning import Machine

CONFIDENCE = 1.96
"""Half the width of a 95 % confidence interval in standard errors."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Costs:
    """What an image of an archive costs, and what a job costs beside its images."""

    loading: tuple[LoadCost, ...]
    """Loading, by kind of image."""
    core_seconds: Estimate | None
    """Seconds of one core per image for models on a CPU and the writing of rows; None if it is not known."""
    gpu_seconds: Estimate | None
    """Seconds of one GPU per image; None if it is not known."""
    start_seconds: float
    """Seconds of a job before its first image is scored, and after its last."""

    @property
    def images(self) -> int:
        """Number of images of the archive."""
        return sum(kind.images for kind in self.loading)

    @property
    def load_seconds(self) -> Estimate:
        """Seconds of one core for loading an image, as the mean over the archive: the kinds count by their images."""
        return mean_of([(kind.images / self.images, kind.cpu_seconds) for kind in self.loading])


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """How a kind of machine scores an archive."""

    machine: Machine
    """The kind of machine."""
    images_per_second: float | None
    """Rate of one machine in the steady state; None if its GPU was not measured."""
    loads_per_second: float
    """Rate at which all cores of one machine could load images if they did nothing else."""
    gpu_busy: float | None
    """Fraction of the time that its GPUs compute, 0 to 1; below 1 they wait for loading. None if nothing is known of a GPU."""
    seconds: float | None
    """Duration of the job on one machine, the start included."""
    seconds_error: float | None
    """Standard error of the duration, from the sample; that of the start is not known."""
    machines: int | None
    """Number of machines that finish in time; None if no number does, because the start takes longer."""
    dollars: float | None
    """Price of the archive on that many machines, their starts included."""
    dollars_per_million: float | None
    """Price of a job over a million such images on one machine, its start included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """The plan for an archive."""

    models: tuple[str, ...]
    """Ids of the models."""
    hours: float
    """Hours in which the archive has to be finished."""
    source: str
    """Where the cost of the forward pass and the start is from, in words."""
    costs: Costs
    """What an image costs."""
    cores_per_gpu: float | None
    """Cores of this machine that load images as fast as one GPU scores them; None if no GPU was measured."""
    cores_in_time: int | None
    """Cores of this machine's speed that finish in time without a GPU; None if the models were not measured on a CPU."""
    gpus_in_time: int | None
    """GPUs as measured that finish in time; None if no GPU was measured."""
    load_cores_in_time: int | None
    """Cores of this machine's speed that load all images in time, which the GPUs need beside them."""
    forecasts: tuple[Forecast, ...]
    """Forecasts for this machine, the cluster that was joined, and the machines of the price list."""


def mean_of(weighted: Sequence[tuple[float, Estimate]]) -> Estimate:
    """Weighted sum of independent estimates; the weights of a mean sum to 1."""
    return Estimate(
        mean=sum(weight * value.mean for weight, value in weighted),
        error=math.sqrt(sum((weight * value.error) ** 2 for weight, value in weighted)),
    )


def seconds_per_image(costs: Costs, machine: Machine) -> Estimate | None:
    """Seconds of one machine per image in the steady state; None if the device that it computes on was not measured.

    On CPUs, loading and models share the cores, so their times add up. With GPUs, the slower of the two decides.
    """
    cores = machine.cpus * machine.cpu_factor
    if not machine.gpus:
        if costs.core_seconds is None:
            return None
        return mean_of([(1 / cores, costs.load_seconds), (1 / cores, costs.core_seconds)])
    if costs.gpu_seconds is None:
        return None
    loading = mean_of([(1 / cores, costs.load_seconds)])
    forward = mean_of([(1 / (machine.gpus * machine.gpu_factor), costs.gpu_seconds)])
    return max(loading, forward, key=lambda estimate: estimate.mean)


def gpu_busy(load_seconds: float, costs: Costs, machine: Machine) -> float | None:
    """Fraction of the time that the GPUs of a machine compute if images take `load_seconds` of a core; None without GPU."""
    if not machine.gpus or costs.gpu_seconds is None:
        return None
    forward = costs.gpu_seconds.mean / (machine.gpus * machine.gpu_factor)
    return min(1.0, forward / (load_seconds / (machine.cpus * machine.cpu_factor)))


def cores_per_gpu(costs: Costs) -> float | None:
    """Cores that load images as fast as one GPU scores them, both as measured; None if no GPU was measured."""
    return None if costs.gpu_seconds is None else costs.load_seconds.mean / costs.gpu_seconds.mean


def needed(costs: Costs, seconds_per_image: float | None, hours: float) -> int | None:
    """Number of cores or GPUs that finish the archive in some hours, if an image takes one of them some seconds.

    None if the seconds are not known, or the start alone takes longer.
    """
    left = hours * 3600 - costs.start_seconds
    if seconds_per_image is None or left <= 0:
        return None
    return math.ceil(costs.images * seconds_per_image / left)


def forecast(costs: Costs, machine: Machine, hours: float) -> Forecast:
    """Forecast how a kind of machine scores the archive, and how many of them finish it in some hours."""
    per_image, price = seconds_per_image(costs, machine), machine.dollars_per_hour
    seconds = machines = dollars = per_million = None
    if per_image is not None:
        work = costs.images * per_image.mean
        seconds, machines = costs.start_seconds + work, needed(costs, per_image.mean, hours)
        if price is not None:
            per_million = price / 3600 * (1e6 * per_image.mean + costs.start_seconds)
            dollars = price / 3600 * (work + machines * costs.start_seconds) if machines else None
    return Forecast(
        machine=machine,
        images_per_second=1 / per_image.mean if per_image else None,
        loads_per_second=machine.cpus * machine.cpu_factor / costs.load_seconds.mean,
        gpu_busy=gpu_busy(costs.load_seconds.mean, costs, machine),
        seconds=seconds,
        seconds_error=costs.images * per_image.error if per_image else None,
        machines=machines,
        dollars=dollars,
        dollars_per_million=per_million,
    )


def as_json(plan: Plan) -> dict[str, Any]:
    """A plan as values of JSON, with means over the archive that its costs do not hold as fields."""
    values = asdict(plan)
    values["costs"] |= {"images": plan.costs.images, "load_seconds": asdict(plan.costs.load_seconds)}
    return values
