"""Lines of the terminal that say how good a probe is, and what more labels would help."""

from typing import Any

from cxr_ray.probing.judgement import expected_accuracy


def summary_lines(results: dict[str, Any]) -> list[str]:
    """Lines for the content of `probe.json`; ranges in brackets are intervals of 95 % over whole patients."""
    validation, test, neighbours = (results[name] for name in ("cross_validation", "test", "nearest_neighbours"))
    learned = (
        f"{validation['images']:,} images of {validation['patients']:,} patients, {len(results['labels'])} classes"
    )
    lines = [
        f"learned from {learned}, {results['features']:,} features of {results['encoder']}",
        f"cross-validation in {validation['folds']} folds: {_figures(validation)}",
        "recall: " + ", ".join(f"{label} {_two(row['recall'])}" for label, row in validation["per_class"].items()),
    ]
    if test:
        lines.append(f"test split, {test['images']:,} images: {_figures(test)}")
    lines.append(
        f"nearest neighbours ({neighbours['neighbours']}), for comparison: accuracy {neighbours['accuracy']:.3f}"
    )
    return lines + _curve_lines(results["learning_curve"])


def _curve_lines(points: list[dict[str, Any]]) -> list[str]:
    if len(points) < 2:
        return []
    lines = ["accuracy by labels: " + ", ".join(f"{point['images']:,} {point['accuracy']:.3f}" for point in points)]
    twice, four = (expected_accuracy(points, times) for times in (2, 4))
    if twice is not None and four is not None:
        lines.append(
            f"expected if this goes on: {twice:.3f} with twice as many labels, {four:.3f} with four times as many"
        )
    return lines


def _figures(judged: dict[str, Any]) -> str:
    low, high = judged["accuracy_interval"]
    area = "" if judged["macro_auroc"] is None else f", AUROC {judged['macro_auroc']:.3f}"
    return (
        f"accuracy {judged['accuracy']:.3f} ({low:.3f} to {high:.3f}), balanced {judged['balanced_accuracy']:.3f}, "
        f"macro F1 {judged['macro_f1']:.3f}{area}"
    )


def _two(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
