"""Plan the scoring of an archive: sample its images -> measure what one costs -> hours, machines and dollars."""

import dataclasses
import json
import logging
import os

import torch

from cxr_ray.archive.uris import write_bytes
from cxr_ray.benchmarks.archive_costs import Estimate, measure_forward, measure_loading, try_job
from cxr_ray.benchmarks.archive_plan import Costs, Plan, as_json, cores_per_gpu, forecast, needed, seconds_per_image
from cxr_ray.benchmarks.archive_sample import Stratum, sample_archive
from cxr_ray.benchmarks.benchmark_files import forward_seconds, read_benchmarks
from cxr_ray.benchmarks.plan_report import report
from cxr_ray.benchmarks.planned_job import PlannedJob, planned_job
from cxr_ray.cluster.nodes import NodeRoom
from cxr_ray.cluster.session import joined_nodes
from cxr_ray.config import PlanConfig
from cxr_ray.config.planning import Machine
from cxr_ray.scoring.pool import IMAGES_PER_ACTOR, ScoringPool, fit_pool

log = logging.getLogger("cxr_ray")


def plan_archive(config: PlanConfig) -> Plan:
    """Plan the scoring of an archive and print the plan; it is also written as JSON, if `config.output_uri` is given.

    Raises:
        BundleError: if a bundle is missing or damaged, or the bundles cannot be scored in one job.
        ClusterError: if a cluster is named and does not answer.
        DatasetError: if a benchmark is not of these models, or no result of `benchmark_scoring.py`.
        StorageError: if the manifest or a benchmark cannot be read.
        WorkerError: if the job over a part of the sample fails.
    """
    job = planned_job(config)
    gpus = 0 if config.device == "cpu" else torch.cuda.device_count()
    here = Machine(name="this machine", cpus=os.cpu_count() or 1, gpus=gpus)
    pool = fit_pool([NodeRoom(cpus=here.cpus, gpus=int(here.gpus))], config.device, None, job.actors_per_group)
    images = max(config.sample_images, pool.actors * IMAGES_PER_ACTOR)  # with fewer not all actors would be started
    strata = sample_archive(config.manifest_uri, images, config.seed)
    _warn_if_busy(here)
    source, costs = measured(config, job, strata, here, pool)
    machines = (here, *_joined(), *config.price_list())
    on_gpu, on_core, loading = costs.gpu_seconds, costs.core_seconds, costs.load_seconds.mean
    plan = Plan(
        models=tuple(model_id for model_id, _ in job.models),
        hours=config.hours,
        source=source,
        costs=costs,
        cores_per_gpu=cores_per_gpu(costs),
        cores_in_time=needed(costs, loading + on_core.mean if on_core else None, config.hours),
        gpus_in_time=needed(costs, on_gpu.mean if on_gpu else None, config.hours),
        load_cores_in_time=needed(costs, loading, config.hours),
        forecasts=tuple(forecast(costs, machine, config.hours) for machine in machines),
    )
    print(report(plan))
    if config.output_uri:
        write_bytes(config.output_uri, json.dumps(as_json(plan), indent=2).encode())
    return plan


def _warn_if_busy(here: Machine) -> None:
    """Log a warning if other programs compute on this machine, because their work is then part of the measurement."""
    busy = os.getloadavg()[0]
    if busy > here.cpus / 2:
        log.warning("other programs keep %.1f of %g CPUs busy; the plan is for what they leave", busy, here.cpus)


def measured(
    config: PlanConfig, job: PlannedJob, strata: list[Stratum], here: Machine, pool: ScoringPool
) -> tuple[str, Costs]:
    """Measure what an image costs, or take the forward pass and the start from benchmarks; the source in words, the costs."""
    if config.benchmark_uri:
        benchmarks = read_benchmarks(config.benchmark_uri)
        seconds = forward_seconds(benchmarks, job.models)
        loading, _ = measure_loading(job, strata)
        return "benchmarks", Costs(
            loading=tuple(loading),
            core_seconds=Estimate(mean=seconds["cpu"]) if "cpu" in seconds else None,
            gpu_seconds=Estimate(mean=seconds["cuda"]) if "cuda" in seconds else None,
            start_seconds=max(benchmark.start_seconds for benchmark in benchmarks),
        )
    trial = try_job(job, strata)
    loading, loaded = measure_loading(job, strata)
    forward = measure_forward(job, pool, loaded)
    on_gpu = pool.device == "cuda"
    threads = pool.threads_per_actor
    per_core = Estimate(
        mean=forward.seconds.mean * threads + forward.write_seconds, error=forward.seconds.error * threads
    )
    costs = Costs(
        loading=tuple(loading),
        core_seconds=None if on_gpu else per_core,
        gpu_seconds=forward.seconds if on_gpu else None,
        start_seconds=0.0,
    )
    per_image = seconds_per_image(costs, here)
    scored = trial.images * per_image.mean if per_image else 0.0
    where = torch.cuda.get_device_name() if on_gpu else f"{here.cpus:g} CPUs"
    return f"measured on {where}", dataclasses.replace(costs, start_seconds=max(0.0, trial.seconds - scored))


def _joined() -> tuple[Machine, ...]:
    """The cluster that a job started here would join, as one machine; nothing if it would start its own."""
    nodes = joined_nodes()
    cpus = sum(node.cpus for node in nodes)
    return (Machine(name="joined cluster", cpus=cpus, gpus=sum(node.gpus for node in nodes)),) if cpus else ()
