"""Let the actors of a job grow with the cluster while the job runs, ask for nodes, and notice when there are none.

Ray Data sizes a pool of actors within what its operators may reserve of the nodes that are there, and asks for nodes by
the rates of single tasks (Ray 2.60). On CPUs it so puts two actors on the cores of one. Here the pool has, at any
moment, the size that a pool would be given that is planned on the nodes that are alive, which Ray Data takes for a
fixed size; and nodes are asked for by whole actors with the tasks that load images for them.
"""

import dataclasses
import logging
import math
import time

import ray
from ray.actor import ActorHandle
from ray.data import DataContext
from ray.data._internal.actor_autoscaler import AutoscalingActorPool
from ray.data._internal.execution.execution_callback import ExecutionCallback
from ray.data._internal.execution.streaming_executor import StreamingExecutor

from cxr_ray.cluster.nodes import alive_nodes
from cxr_ray.cluster.patience import Patience
from cxr_ray.scoring.pool import ScoringPool

log = logging.getLogger("cxr_ray")

LOOK_SECONDS = 2.0
"""Seconds between two looks at the nodes of the cluster."""
ASK_SECONDS = 10.0
"""Seconds between two requests for nodes, which an autoscaler forgets after minutes."""
NEVER = 1e9
"""Utilisation of a pool at which Ray Data itself adds actors."""


class GrowingPool(ExecutionCallback):
    """A callback of Ray Data that keeps the pool of a job at the size that the nodes hold.

    Args:
        pool: plan of the pool.
        tally: actor that counts the images of the run.
        images: number of images that the run scores.
        grow_minutes: nodes are asked for while the remaining images would take longer than this many minutes.
        patience: is told when the job waits for its first actor.
    """

    def __init__(
        self, pool: ScoringPool, tally: ActorHandle, *, images: int, grow_minutes: float, patience: Patience
    ) -> None:
        self._plan, self._tally, self._images, self._patience = pool, tally, images, patience
        self._grow_minutes = grow_minutes
        self._size, self._held = pool.actors, 0
        self._looked = self._asked = -math.inf

    def watch(self, context: DataContext) -> None:
        """Have the execution of a dataset with the context `context` call this object, and leave the pool to it."""
        context.custom_execution_callback_classes = [lambda: self]
        context.autoscaling_config.actor_pool_util_upscaling_threshold = NEVER

    def before_execution_starts(self, executor: StreamingExecutor) -> None:
        """Ask for nodes in the place of Ray Data."""
        setattr(executor._cluster_autoscaler, "try_trigger_scaling", lambda: None)  # noqa: B010  mypy refuses to assign

    def on_execution_step(self, executor: StreamingExecutor) -> None:
        """Look at the nodes every few seconds, bring the actors to what they hold, and ask for nodes.

        Raises:
            ClusterError: if the job has waited for too long for an actor.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        pools = [pool for operator in executor._topology or () for pool in operator.get_autoscaling_actor_pools()]
        if not pools:
            return
        (pool,) = pools
        nodes = alive_nodes()
        self._fit(pool, self._plan.on(nodes))
        has_place = self._plan.fits_on(nodes) and (pool.num_alive_actors() > 0 or _is_one_placed(pool))
        self._patience.note(is_waiting=not has_place)
        if now - self._asked > ASK_SECONDS:
            self._asked = now
            images, _, rate = ray.get(self._tally.read.remote())
            wanted = self._wanted(self._images - images, rate, pool.num_alive_actors())
            executor._cluster_autoscaler._send_resource_request(requests(self._plan, wanted))

    def _fit(self, pool: AutoscalingActorPool, held: int) -> None:
        """Add actors where nodes have joined, and end idle ones where nodes were lost.

        Ray starts the actors of a lost node again on the CPUs of another one that are meant for the tasks that load
        images; if all are taken, nothing is loaded any more, and the actors wait for ever.
        """
        lost, self._held = max(0, self._held - held), held
        size = max(min(held, self._plan.limit or self._plan.most_actors), self._size - lost, 1)
        if size > self._size:
            log.info("the cluster has room for %s model replicas now, %s more", size, size - self._size)
        if size != self._size:
            self._size = size
            _resize(pool, size, self._plan.most_actors)
        _end_idle(pool, pool.current_size() - size)

    def _wanted(self, images: int, rate: float | None, actors: int) -> int:
        """Number of actors that score `images` images in the given minutes at `rate` images per second of `actors`."""
        if not self._grow_minutes:
            return self._plan.most_actors
        if not rate or not actors:
            return max(1, actors)
        needed = math.ceil(images / (rate / actors * 60 * self._grow_minutes))
        return max(1, min(needed, self._plan.most_actors))


def requests(plan: ScoringPool, actors: int) -> list[dict[str, float]]:
    """List what `actors` actors of a plan and the tasks that load for them reserve, for an autoscaler to find room for."""
    actor = {"CPU": plan.cpus_per_actor} | ({"GPU": plan.gpus_per_actor} if plan.gpus_per_actor else {})
    loading = 1.0 if plan.gpus_per_actor else plan.cpus_per_actor
    tasks = max(1, math.floor(loading / plan.cpus_per_load_task + 1e-9))
    return [actor, *[{"CPU": plan.cpus_per_load_task}] * tasks] * actors


def _is_one_placed(pool: AutoscalingActorPool) -> bool:
    """Whether one of the actors that are not ready has a process on a node, and so only has to load its models."""
    actors = [*pool._pending_actors.values(), *pool._running_actors]
    known = (ray._private.state.actors(actor._actor_id.hex()) for actor in actors)
    return any(actor and actor["Pid"] for actor in known)


def _end_idle(pool: AutoscalingActorPool, surplus: int) -> None:
    """End up to `surplus` of the running actors, of those that have nothing to do."""
    idle = [actor for actor, state in pool._running_actors.items() if state.num_tasks_in_flight == 0]
    for actor in idle[: max(0, surplus)]:
        pool._release_running_actor(actor)
        ray.kill(actor)


def _resize(pool: AutoscalingActorPool, size: int, most: int) -> None:
    """Give a pool the size `size`, to which Ray Data then brings it; it may be asked for up to `most` actors."""
    sizes = {"min_size": size, "initial_size": size, "max_size": max(size, most)}
    pool._config = dataclasses.replace(pool._config, **sizes)
