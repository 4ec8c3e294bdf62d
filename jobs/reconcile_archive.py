"""Check that a table holds exactly one row for each image of a manifest."""

from cxr_ray.archive.reconcile import reconcile_archive
from cxr_ray.config import ReconcileConfig, run_job

if __name__ == "__main__":
    run_job(ReconcileConfig, reconcile_archive)
