"""How often 95 % intervals hold the true figure: exactly, for proportions of independent images, and by simulation.

    python -m tests.metrics.interval_coverage --runs 1000
    python -m tests.metrics.interval_coverage --runs 1000 --images-per-patient 4 --correlation 0.3
    python -m tests.metrics.interval_coverage --runs 200 --all-figures

The exact coverage is a sum over the binomial distribution of the number of correct images. An interval that depends on that
number alone covers the truth for a set of numbers; `closest_possible` finds the sets of neighbouring numbers whose
probability is nearest to 95 %, and so shows where no interval can reach 93 to 97 %.
"""

import argparse

import numpy as np
from scipy import stats

from cxr_ray.metrics.class_intervals import NORMAL_QUANTILE
from cxr_ray.metrics.classification import classification_metrics
from cxr_ray.metrics.intervals import proportion_interval, wilson_interval

SIZES = (16, 50, 200, 1000)
ACCURACIES = (0.6, 0.9, 0.99)
WANTED = (0.93, 0.97)


def exact_coverage(size: int, truth: float, method: str = "ours") -> float:
    """Probability that the interval of a binomial number of successes holds `truth`."""
    numbers = np.arange(size + 1)
    if method == "ours":
        bounds = np.array([wilson_interval(number / size, size, NORMAL_QUANTILE) for number in numbers])
    else:  # the limit of the percentile bootstrap for many resamples
        bounds = np.array([stats.binom.ppf([0.025, 0.975], size, number / size) / size for number in numbers])
    held = (bounds[:, 0] <= truth) & (truth <= bounds[:, 1])
    return float(stats.binom.pmf(numbers[held], size, truth).sum())


def possible_coverages(size: int, truth: float) -> np.ndarray:
    """All coverages that an interval can have whose set of numbers that cover `truth` is a run of neighbours."""
    sums = np.concatenate([[0.0], np.cumsum(stats.binom.pmf(np.arange(size + 1), size, truth))])
    return np.unique((sums[None] - sums[:, None])[np.triu_indices(size + 2, 1)])


def closest_possible(size: int, truth: float) -> float:
    """The least of the possible coverages that is at least 93 %."""
    coverages = possible_coverages(size, truth)
    return float(coverages[coverages >= WANTED[0]].min())


def simulated_right(generator, size: int, accuracy: float, per_patient: int, correlation: float):
    """Whether each image is right, and its patient; a beta distribution of each patient's accuracy gives the correlation."""
    patients = -(-size // per_patient)
    groups = np.arange(size) // per_patient
    if correlation:
        scale = (1 - correlation) / correlation
        of_patient = generator.beta(accuracy * scale, (1 - accuracy) * scale, size=patients)
    else:
        of_patient = np.full(patients, accuracy)
    return generator.random(size) < of_patient[groups], groups


def accuracy_coverage(runs: int, size: int, accuracy: float, per_patient: int = 1, correlation: float = 0.0) -> float:
    """Fraction of simulated evaluations whose interval of the accuracy holds the true accuracy."""
    generator = np.random.default_rng(size)
    held = 0
    for _ in range(runs):
        right, groups = simulated_right(generator, size, accuracy, per_patient, correlation)
        low, high, _ = proportion_interval(right, np.ones(size, bool), groups)
        held += low <= accuracy <= high
    return held / runs


FIGURES = (
    *("recall", "specificity", "precision", "npv", "f1", "auroc", "auprc"),
    *("balanced_accuracy", "macro_f1", "macro_auroc", "brier", "log_loss"),
)


def figure_of(metrics: dict, figure: str):
    """Value and interval of a figure of all classes, or else of the second class."""
    holder = metrics if figure in metrics["intervals"] else metrics["per_class"]["sick"]
    return holder[figure], holder["intervals"][figure]


def simulated_metrics(generator, size: int, distance: float, per_patient: int, correlation: float, resamples: int):
    """Metrics of a test whose scores are normal, `distance` apart in a third of the patients, who are sick."""
    groups = np.arange(size) // per_patient
    patients = groups[-1] + 1
    sick = (np.arange(patients) % 3 == 0)[groups]
    of_patient = generator.normal(size=patients)[groups] * np.sqrt(correlation)
    score = sick * distance + of_patient + generator.normal(size=size) * np.sqrt(1 - correlation)
    probability = 1 / (1 + np.exp(-(score - distance / 2) * distance - np.log(0.5)))
    predicted = (probability > 0.5).astype(np.int64)
    both = np.column_stack([1 - probability, probability])
    return classification_metrics(sick.astype(np.int64), predicted, both, ("well", "sick"), groups, resamples=resamples)


def figure_coverages(runs: int, size: int, distance: float, per_patient=1, correlation=0.0, resamples=200):
    """Fraction of simulated evaluations whose interval of each figure holds its value among 300,000 images.

    Evaluations in which a figure does not exist, such as the precision of a class that is never predicted, do not count.
    """
    generator = np.random.default_rng(size)
    true = simulated_metrics(generator, 300_000, distance, 1, 0.0, 2)
    held: dict[str, list[bool]] = {figure: [] for figure in FIGURES}
    for _ in range(runs):
        metrics = simulated_metrics(generator, size, distance, per_patient, correlation, resamples)
        for figure in FIGURES:
            _, interval = figure_of(metrics, figure)
            if interval is not None:
                held[figure].append(interval[0] <= figure_of(true, figure)[0] <= interval[1])
    return {figure: float(np.mean(found)) for figure, found in held.items() if found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--images-per-patient", type=int, default=1)
    parser.add_argument("--correlation", type=float, default=0.0, help="of whether images of a patient are right")
    parser.add_argument("--all-figures", action="store_true", help="other figures than accuracy; takes minutes")
    choice = parser.parse_args()
    clusters = choice.images_per_patient, choice.correlation
    if choice.all_figures:
        print(f"{'n':>6} {'apart':>6} " + " ".join(f"{figure[:9]:>9}" for figure in FIGURES))
        for size in SIZES:
            for distance in (1.0, 2.0, 4.0):
                covered = figure_coverages(choice.runs, size, distance, *clusters)
                shares = " ".join(f"{covered.get(figure, np.nan):>9.1%}" for figure in FIGURES)
                print(f"{size:>6} {distance:>6} {shares}", flush=True)
        return
    print(f"{'n':>6} {'accuracy':>9} {'simulated':>10} {'exact':>7} {'possible':>9} {'bootstrap':>10}")
    for size in SIZES:
        for accuracy in ACCURACIES:
            covered = accuracy_coverage(choice.runs, size, accuracy, *clusters)
            exact = exact_coverage(size, accuracy), closest_possible(size, accuracy)
            drawn = exact_coverage(size, accuracy, "bootstrap")
            print(f"{size:>6} {accuracy:>9} {covered:>10.1%} {exact[0]:>7.1%} {exact[1]:>9.1%} {drawn:>10.1%}")


if __name__ == "__main__":
    main()
