"""Fit the weights that flag inverted and rotated images to upright radiographs of your own."""

from cxr_ray.config import run_job
from cxr_ray.config.orientation import FitOrientationConfig
from cxr_ray.preparation.fit_orientation import fit_orientation

if __name__ == "__main__":
    run_job(FitOrientationConfig, fit_orientation)
