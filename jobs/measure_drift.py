"""Measure how far the predictions of one archive are from those of another: a test of each column, a table and a figure."""

from cxr_ray.config import run_job
from cxr_ray.config.drift import MeasureDriftConfig
from cxr_ray.evaluation.measure_drift import measure_drift

if __name__ == "__main__":
    run_job(MeasureDriftConfig, measure_drift)
