"""Text of a plan for the terminal."""

from collections.abc import Iterator

from cxr_ray.benchmarks.archive_plan import CONFIDENCE, Costs, Forecast, Plan, gpu_busy

MOST_KINDS = 12
"""Maximum number of kinds of images that are listed; the JSON holds all."""


def report(plan: Plan) -> str:
    """The lines of a plan: what an image costs, by kind of image, what this machine reaches, and the machines."""
    return "\n".join(
        [*_cost_lines(plan), *_kind_lines(plan), *_gpu_lines(plan), _time_line(plan), *_machine_lines(plan)]
    )


def _cost_lines(plan: Plan) -> Iterator[str]:
    costs, load = plan.costs, plan.costs.load_seconds
    yield f"{costs.images:,} images; {' + '.join(plan.models)}; forward pass and start: {plan.source}"
    yield f"  loading   {_milliseconds(load.mean, load.error)} of one core per image (download, decode, resize, hash)"
    for name, unit, value in (("models", "one core", costs.core_seconds), ("models", "one GPU", costs.gpu_seconds)):
        if value is not None:
            yield f"  {name}    {_milliseconds(value.mean, value.error)} of {unit} per image"
    yield f"  start     {costs.start_seconds:.0f} s of each job"


def duration(seconds: float) -> str:
    """A duration as text in the unit that suits it: `45 s`, `3.2 min` or `12.5 h`."""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds:.0f} s"


def _milliseconds(mean: float, error: float) -> str:
    half = f" (+- {1000 * CONFIDENCE * error:.2f})" if error else ""
    return f"{1000 * mean:.2f} ms{half}"


def _kind_lines(plan: Plan) -> Iterator[str]:
    costs, total = plan.costs, plan.costs.load_seconds.mean
    yield f"{'kind of image':<24}{'images':>13}{'%':>5}{'megapixels':>12}{'core ms each':>17}{'a core/s':>10}{'% of loading':>14}"
    by_cost = sorted(costs.loading, key=lambda kind: -kind.images * kind.cpu_seconds.mean)
    for kind in by_cost[:MOST_KINDS]:
        mean, half = kind.cpu_seconds.mean, CONFIDENCE * kind.cpu_seconds.error
        megapixels = "" if kind.megapixels is None else f"{kind.megapixels:.2f}"
        fraction, of_loading = kind.images / costs.images, kind.images * mean / costs.images / total
        failed = f"  {kind.errors} of {kind.sampled} not decoded" if kind.errors else ""
        yield (
            f"  {kind.format + ' ' + kind.size:<22}{kind.images:>13,}{fraction:>5.0%}{megapixels:>12}"
            f"{1000 * mean:>9.2f} +-{1000 * half:>5.2f}{1 / mean:>10,.0f}{of_loading:>14.0%}{failed}"
        )
    if len(by_cost) > MOST_KINDS:
        yield f"  and {len(by_cost) - MOST_KINDS} kinds that cost less"


def _gpu_lines(plan: Plan) -> Iterator[str]:
    if plan.cores_per_gpu is None:
        cores = 1000 * plan.costs.load_seconds.mean
        yield f"cores per GPU: {cores:.1f} for each 1,000 images/s that a GPU scores; no GPU was measured (--benchmark-uri)"
        return
    yield f"cores per GPU: {plan.cores_per_gpu:.1f}; with fewer, the GPU waits for loading"
    for told in plan.forecasts:
        if starving := _starving(plan.costs, told):
            yield f"  {told.machine.name}: the GPU computes for {told.gpu_busy:.0%} of the time; of the time with {starving}"


def _time_line(plan: Plan) -> str:
    """Cores, or GPUs and cores, that finish in time."""
    ways = []
    if plan.cores_in_time is not None:
        ways.append(f"{plan.cores_in_time:,} cores without a GPU")
    if plan.gpus_in_time is not None:
        ways.append(f"{plan.gpus_in_time:,} GPUs with {plan.load_cores_in_time:,} cores in all")
    return f"for {plan.hours:g} h: {', or '.join(ways) or 'too short for the start alone'}"


def _starving(costs: Costs, told: Forecast) -> str:
    """Kinds of images over which the GPUs of a machine wait for loading, with the fraction of the time that they compute."""
    busy = [(gpu_busy(kind.cpu_seconds.mean, costs, told.machine), kind) for kind in costs.loading]
    return ", ".join(f"{kind.format} {kind.size}: {part:.0%}" for part, kind in busy if part is not None and part < 1)


def _machine_lines(plan: Plan) -> Iterator[str]:
    yield (
        f"{'machine':<24}{'cores':>6}{'GPUs':>6}{'images/s':>11}{'one machine takes':>32}"
        f"{f'for {plan.hours:g} h':>11}{'$':>11}{'$ a million':>13}"
    )
    for told in plan.forecasts:
        machine = told.machine
        left = f"  {machine.name[:22]:<22}{machine.cpus:>6g}{machine.gpus:>6g}"
        if told.images_per_second is None or told.seconds is None or told.seconds_error is None:
            device = "a GPU" if machine.gpus else "a CPU"
            yield f"{left}  loads {told.loads_per_second:,.0f} images/s; the models were not measured on {device} (--benchmark-uri)"
            continue
        half = CONFIDENCE * told.seconds_error
        spread = f"{duration(told.seconds)} ({duration(told.seconds - half)} - {duration(told.seconds + half)})"
        needed = "too short" if told.machines is None else f"{told.machines:,}"
        dollars, million = ("" if d is None else f"{d:,.2f}" for d in (told.dollars, told.dollars_per_million))
        yield f"{left}{told.images_per_second:>11,.1f}{spread:>32}{needed:>11}{dollars:>11}{million:>13}"
