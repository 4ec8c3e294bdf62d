"""The outcome of an evaluation in plain sentences: what was found, and what weakens it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from cxr_ray.evaluation.audit_verdicts import VERDICTS

FEW_IMAGES = 30
"""Images of a class below which its figures are said to rest on few images."""


def in_short(metrics: Mapping[str, Any]) -> list[str]:
    """Say in a few sentences what was run on what, how often it was right, and what the audit found.

    Args:
        metrics: content of metrics.json, with `provenance` and `audit`.
    """
    provenance = metrics["provenance"]
    chosen = "all splits" if provenance["split"] == "all" else f"the {provenance['split']} split"
    models = ", ".join(provenance["model_id"]) or "A model"
    what = (
        f"{models} classified {metrics['n_scored']:,} of {metrics['n_images']:,} radiographs of {chosen}, "
        f"of {metrics['n_patients']:,} patients, into {len(metrics['labels'])} classes."
    )
    sentences = [
        what,
        f"It was right in {_share(metrics['accuracy'], metrics['accuracy_interval'])} of them.",
    ]
    recalls = {label: row["recall"] for label, row in metrics["per_class"].items() if row["recall"] is not None}
    best, worst = max(recalls, key=recalls.__getitem__), min(recalls, key=recalls.__getitem__)
    if recalls[best] > recalls[worst]:
        sentences.append(
            f"It found {_named(best)} most reliably, in {_recall(metrics, best)} of its images, "
            f"and {_named(worst)} least, in {_recall(metrics, worst)}."
        )
    return [*sentences, *_on_calibration(metrics["calibration"]["scored"]), _on_audit(metrics["audit"])]


def _named(label: str) -> str:
    return label.replace("_", " ")


def _recall(metrics: Mapping[str, Any], label: str) -> str:
    row = metrics["per_class"][label]
    return _share(row["recall"], row["intervals"]["recall"])


def _share(value: float, interval: Any) -> str:
    bounds = f" (95 % CI {100 * interval[0]:.1f} to {100 * interval[1]:.1f} %)" if interval else ""
    return f"{100 * value:.1f} %{bounds}"


def _on_calibration(scored: Mapping[str, Any] | None) -> list[str]:
    """Say whether the model is surer than it is right, where that is beyond chance."""
    if not scored:
        return []
    difference = scored["mean_confidence"] - scored["accuracy"]
    interval = scored["ece_interval"]
    both = f"its mean confidence is {scored['mean_confidence']:.2f}, its accuracy {scored['accuracy']:.2f}"
    if not interval or interval[0] <= 0:
        return [f"Its probabilities are as good as chance lets one see ({both})."]
    return [f"It is {'surer' if difference > 0 else 'less sure'} than it is right: {both}."]


def _on_audit(audit: list[dict[str, str]] | None) -> str:
    if not audit:
        return "Whether it looks at the lungs was not audited."
    counts = Counter(row["verdict"] for row in audit)
    said = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS if counts[verdict])
    return f"An audit of what it looks at says: {said}."


def limits_of(metrics: Mapping[str, Any]) -> list[str]:
    """Say what weakens the figures of an evaluation, each in one sentence; the list is never empty."""
    return [*_limits_of_data(metrics), *_limits_of_use(metrics)]


def _limits_of_data(metrics: Mapping[str, Any]) -> list[str]:
    found = []
    few = [_named(label) for label, row in metrics["per_class"].items() if 0 < row["support"] < FEW_IMAGES]
    none = [_named(label) for label, row in metrics["per_class"].items() if not row["support"]]
    if few:
        found.append(f"Fewer than {FEW_IMAGES} images are of {', '.join(few)}; their intervals are wide.")
    if none:
        found.append(f"No image is of {', '.join(none)}, so that nothing is known of how well it is found.")
    if metrics["n_without_patient"]:
        found.append(
            f"The patient of {metrics['n_without_patient']:,} images is not known; if some are of the same patient, intervals are too narrow."
        )
    splits = metrics["splits"]
    if splits["patients_shared"] or splits["copies_shared"]:
        found.append(
            f"Patients with images in more than one split: {splits['patients_shared']:,}, and groups of copies: "
            f"{splits['copies_shared']:,}; the model may have seen them in training."
        )
    if metrics["n_errors"] or metrics["n_missing"]:
        found.append(
            f"{metrics['n_errors'] + metrics['n_missing']:,} images are in no figure, because they could not be read or have no prediction."
        )
    return found


def _limits_of_use(metrics: Mapping[str, Any]) -> list[str]:
    found = []
    if metrics["val"] and metrics["val"]["is_suspicious"]:
        found.append(
            "The model is better on the val split than here by more than chance; thresholds chosen there are too optimistic."
        )
    if metrics["provenance"]["split"] in ("train", "val", "all"):
        found.append("Some or all of these images may have been used to train or to choose the model.")
    if not metrics["external"]:
        found.append("It was not set beside images of another hospital; figures usually fall there.")
    if not metrics["subgroups"]:
        found.append("Figures by sex, age, view or device were not computed, so that a group may be served worse.")
    if not metrics["audit"]:
        found.append(
            "No audit says whether the model uses the lungs, or marks and borders that tell where an image comes from."
        )
    found.append("The labels are taken as true; how they were made, and how often readers agree, is not recorded.")
    if not metrics["at_prevalence"]:
        found.append("PPV and NPV hold only where the classes are as frequent as among these images.")
    return found
