"""Run the whole product on an archive that it draws itself, or on a real one."""

from cxr_ray.config.command_line import run_job
from cxr_ray.config.demo import DemoConfig
from cxr_ray.phantoms.demo import run_demo

if __name__ == "__main__":
    run_job(DemoConfig, run_demo)
