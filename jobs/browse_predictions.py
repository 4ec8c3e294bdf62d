"""Make a static page of the predictions and masks of an archive job, to filter, to look at and to pick from."""

from cxr_ray.browsing.browse_predictions import browse_predictions
from cxr_ray.config import run_job
from cxr_ray.config.browsing import BrowseConfig

if __name__ == "__main__":
    run_job(BrowseConfig, browse_predictions)
