"""Run a job of the product with a Ray that counts nodes every second, and not every 20 and 60: `quick_growth.py JOB FLAGS`."""

import runpy
import sys
import threading
import time
from functools import partial

import ray
from ray.data._internal.cluster_autoscaler.default_autoscaling_coordinator import get_or_create_autoscaling_coordinator
from ray.train import ScalingConfig

from cxr_ray.training import workers


def count_nodes() -> None:
    """Make the actor that tells Ray Train how many workers fit count the nodes, as long as the job has joined Ray."""
    while not ray.is_initialized():
        time.sleep(0.1)
    coordinator = get_or_create_autoscaling_coordinator()
    while ray.is_initialized():
        coordinator._tick.remote()
        time.sleep(1)


if __name__ == "__main__":
    workers.ScalingConfig = partial(ScalingConfig, elastic_resize_monitor_interval_s=1)
    threading.Thread(target=count_nodes, daemon=True).start()
    del sys.argv[0]
    runpy.run_path(sys.argv[0], run_name="__main__")
