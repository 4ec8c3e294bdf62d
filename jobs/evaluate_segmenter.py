"""Evaluate masks against the true masks of a dataset: metrics, figures and a report."""

from cxr_ray.config import EvaluateSegmenterConfig, run_job
from cxr_ray.evaluation.evaluate_segmenter import evaluate_segmenter

if __name__ == "__main__":
    run_job(EvaluateSegmenterConfig, evaluate_segmenter)
