"""Evaluate the predictions of a classifier against a dataset: metrics, figures and a report."""

from cxr_ray.config import EvaluateClassifierConfig, run_job
from cxr_ray.evaluation.evaluate_classifier import evaluate_classifier

if __name__ == "__main__":
    run_job(EvaluateClassifierConfig, evaluate_classifier)
