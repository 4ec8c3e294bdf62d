"""List an archive into a Parquet manifest."""

from cxr_ray.archive.manifest import index_archive
from cxr_ray.config import IndexConfig, run_job

if __name__ == "__main__":
    run_job(IndexConfig, index_archive)
