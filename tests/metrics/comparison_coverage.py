"""How often 95 % intervals of calibration errors and of differences between two models hold the truth, by simulation.

python -m tests.metrics.comparison_coverage --runs 1000
python -m tests.metrics.comparison_coverage --runs 1000 --images-per-patient 4
"""

import argparse

import numpy as np
from scipy.special import softmax

from cxr_ray.metrics.calibration import expected_calibration_error
from cxr_ray.metrics.calibration_interval import ece_evidence
from cxr_ray.metrics.intervals import paired_difference_interval
from tests.metrics.interval_coverage import SIZES

CALIBRATIONS = ((1.0, 2.0), (2.0, 2.0), (1.0, 8.0), (3.0, 8.0), (0.5, 4.0))
"""Sharpness (1 if the calibration is perfect) and standard deviation of the logits of three classes."""
DIFFERING = ((0.0, 0.02), (0.02, 0.06), (0.1, 0.1), (0.05, 0.2))
"""Fractions of the images on which only the first, and only the second model is right."""


def drawn_images(generator, size: int, sharpness: float, scale: float, per_patient: int = 1):
    """True classes and probabilities; images of a patient are equal but for their chance."""
    logits = scale * generator.normal(size=(-(-size // per_patient), 3)).repeat(per_patient, axis=0)[:size]
    chance = generator.random((size, 1))
    truth = (softmax(logits, axis=1).cumsum(axis=1) > chance).argmax(axis=1)
    return truth, softmax(sharpness * logits, axis=1)


def ece_coverage(runs: int, size: int, sharpness: float, scale: float, per_patient: int = 1, resamples: int = 400):
    """The calibration error of 400,000 images, the fraction of evaluations whose interval holds it, and their mean width."""
    generator = np.random.default_rng(size)
    true = expected_calibration_error(*drawn_images(generator, 400_000, sharpness, scale))
    bounds = []
    for run in range(runs):
        images = drawn_images(generator, size, sharpness, scale, per_patient)
        evidence = ece_evidence(*images, np.arange(size) // per_patient, resamples=resamples, seed=run)
        bounds.append(evidence["ece_interval"])
    low, high = np.transpose(bounds)
    return true, float(np.mean((low <= true) & (true <= high))), float(np.mean(high - low))


def difference_coverage(runs: int, size: int, only_first: float, only_second: float, per_patient: int = 1) -> float:
    """Fraction of evaluations whose interval holds the true difference of the accuracies of two models.

    Half of the patients have equal results on all of their images.
    """
    generator = np.random.default_rng(size)
    groups = np.arange(size) // per_patient
    shares = np.cumsum([only_first, only_second])
    held = 0
    for _ in range(runs):
        chance = np.where(generator.random(groups[-1] + 1) < 0.5, generator.random(groups[-1] + 1), np.nan)[groups]
        chance = np.where(np.isnan(chance), generator.random(size), chance)
        first, second = (chance < shares[0]) | (chance > shares[1]), chance >= shares[0]
        low, high, _ = paired_difference_interval(first, second, groups)
        held += low <= only_second - only_first <= high
    return held / runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--images-per-patient", type=int, default=1)
    choice = parser.parse_args()
    print(f"{'n':>6} {'only 1st':>9} {'only 2nd':>9} {'difference':>11}")
    for size in SIZES:
        for pair in DIFFERING:
            covered = difference_coverage(choice.runs, size, *pair, choice.images_per_patient)
            print(f"{size:>6} {pair[0]:>9} {pair[1]:>9} {covered:>11.1%}", flush=True)
    print(f"{'n':>6} {'sharpness':>9} {'scale':>9} {'true ECE':>9} {'covered':>9} {'width':>7}")
    for size in SIZES:
        for kind in CALIBRATIONS:
            true, covered, width = ece_coverage(choice.runs, size, *kind, choice.images_per_patient)
            print(f"{size:>6} {kind[0]:>9} {kind[1]:>9} {true:>9.4f} {covered:>9.1%} {width:>7.3f}", flush=True)


if __name__ == "__main__":
    main()
