"""A model card by the items of CLAIM 2024 and TRIPOD+AI, filled from records; what no file says is said to be unknown."""

from collections.abc import Mapping
from typing import Any

from cxr_ray.evaluation.card_topics import CLAIM_ITEMS, TOPICS, TRIPOD_ITEMS
from cxr_ray.evaluation.card_training import training_answers
from cxr_ray.evaluation.model_facts import ModelFacts

RESEARCH_USE = "For research use only; not a medical device."
AUDIT_OF_LOOK = "see the section Audit"


def model_card(metrics: Mapping[str, Any], facts: ModelFacts) -> dict[str, Any]:
    """Answer every topic of `card_topics.TOPICS`, as far as the metrics and records allow.

    Args:
        metrics: content of metrics.json, with `provenance`, `splits` and `audit`.
        facts: records of the runs and bundles.

    Returns:
        `topics`: for each topic its `name`, `section`, `title`, `claim` and `tripod` (items), `answer` (None if no file says it) and
        `to_add`; `claim_answered` and `tripod_answered`: the number of items with an answer, of `claim_items` and `tripod_items`.
    """
    answers = {
        **_of_study(metrics, facts),
        **_of_data(metrics, facts),
        **_of_model(metrics, facts),
        **training_answers(facts),
        **_of_evaluation(metrics, facts),
        **_of_results(metrics),
        **_of_release(facts),
    }
    topics: list[dict[str, Any]] = [
        {
            "name": topic.name,
            "section": topic.section,
            "title": topic.title,
            "claim": list(topic.claim),
            "tripod": list(topic.tripod),
            "answer": answers.get(topic.name),
            "to_add": topic.to_add,
        }
        for topic in TOPICS
    ]
    known = [topic for topic in topics if topic["answer"]]
    return {
        "topics": topics,
        "claim_answered": sum(len(topic["claim"]) for topic in known),
        "tripod_answered": sum(len(topic["tripod"]) for topic in known),
        "claim_items": len(CLAIM_ITEMS),
        "tripod_items": len(TRIPOD_ITEMS),
        "notes": list(facts.notes),
    }


def _of_study(metrics: Mapping[str, Any], facts: ModelFacts) -> dict[str, str | None]:
    classes = ", ".join(label.replace("_", " ") for label in metrics["labels"])
    network = " and ".join(card["backbone"] for card in facts.cards)
    technique = f"Deep learning ({network})" if network else "A classifier whose network is not recorded"
    return {
        "kind": f"{technique} that assigns one of {len(metrics['labels'])} classes to a chest radiograph: {classes}.",
        "summary": "In the section In short.",
        "goal": "Evaluation of a finished model.",
    }


def _of_data(metrics: Mapping[str, Any], facts: ModelFacts) -> dict[str, str | None]:
    provenance, splits = metrics["provenance"], metrics["splits"]
    counts = ", ".join(f"{name} {count:,}" for name, count in splits["images"].items())
    chosen = (
        "all labelled images" if provenance["split"] == "all" else f"the labelled images of split {provenance['split']}"
    )
    left_out = sum(metrics["n_left_out_by_label_map"].values())
    unknown = splits["without_patient"]
    return {
        "source": f"The dataset {provenance['dataset_uri']} (fingerprint {provenance['dataset_fingerprint']}); where its images come from is not recorded.",
        "preprocessing": _preprocessing(facts),
        "predictors": "The pixels of one radiograph. No other fact about the patient enters the model.",
        "subset": f"These are {chosen}." + (f" The label map leaves out {left_out:,} images." if left_out else ""),
        "deidentification": "The tables hold no name, birth date or raw patient id. Whether file names and pixels are free of them is not recorded.",
        "missing": f"{metrics['n_errors']:,} images that could not be read and {metrics['n_missing']:,} without a prediction are counted, and excluded from the figures; if the former count as wrong, the accuracy is {metrics['accuracy_failures_as_wrong']:.3f}.",
        "partitions": f"By the column split of the dataset: {counts}." if counts else None,
        "disjoint": f"Patients with images in more than one split: {splits['patients_shared']:,}; groups of copies: {splits['copies_shared']:,}."
        + (f" The patient is not known of {unknown:,} images, for which this cannot be checked." if unknown else ""),
        "size": f"{metrics['n_images']:,} images of {metrics['n_patients']:,} patients; no calculation of this number is recorded.",
    }


def _preprocessing(facts: ModelFacts) -> str | None:
    if not facts.cards:
        return None
    card = facts.cards[0]
    side = card["image_size"]
    return (
        f"Grey values of the displayed image, squashed to {side} x {side} pixels ({card['interpolation']}), minus the mean "
        f"{_numbers(card['mean'])}, divided by the standard deviation {_numbers(card['std'])}."
    )


def _numbers(values: Any) -> str:
    return " / ".join(f"{value:g}" for value in values)


def _of_model(metrics: Mapping[str, Any], facts: ModelFacts) -> dict[str, str | None]:
    cards, versions, config = facts.cards, facts.scoring.get("versions", {}), facts.scoring.get("config", {})
    networks = "; ".join(f"{card['model_id']}, {card['precision']}, made {card['created_at']}" for card in cards)
    temperatures = ", ".join(f"{card['temperature']:.3g}" for card in cards)
    chosen = metrics["operating_points"]["classes"]
    output = "A probability for each class; the most probable class is the label."
    output += f" Logits are divided by the temperature {temperatures} of the bundle." if cards else ""
    output += " Thresholds: section Operating points." if chosen else " No other threshold was chosen."
    names = ("device", "engine", "precision", "batch_size")
    options = ", ".join(f"{name.replace('_', ' ')} {config[name]}" for name in names if config.get(name) is not None)
    ensemble = "One model."
    if len(cards) > 1:
        ensemble = f"The mean of the probabilities of {len(cards)} models."
    return {
        "network": f"{networks}." if networks else None,
        "software": ", ".join(f"{name} {version}" for name, version in versions.items()) + "." if versions else None,
        "output": output,
        "ensemble": ensemble if cards else None,
        "calculation": f"By classify_archive.py: {options}." if options else None,
    }


def _of_evaluation(metrics: Mapping[str, Any], facts: ModelFacts) -> dict[str, str | None]:
    provenance = metrics["provenance"]
    audit = [row for row in metrics["audit"] or () if row["verdict"] != "not done"]
    trained_on = {card["dataset_fingerprint"] for card in facts.cards}
    is_own = trained_on == {provenance["dataset_fingerprint"]} and not metrics["external"]
    groups = ", ".join(name.replace("_", " ") for name in metrics["subgroups"])
    refitted = metrics["calibration"]["refitted"]
    internal = None
    if is_own:
        split = "all splits" if provenance["split"] == "all" else f"the {provenance['split']} split"
        internal = f"This evaluation: the dataset is the one that the model was trained on, of which it uses {split}."
    elif metrics["external"]:
        internal = f"Set beside this evaluation: {metrics['external']['internal_dataset_uri']}."
    return {
        "metrics": "Sensitivity, specificity, PPV, NPV, F1, AUROC and AUPRC of each class; accuracy, macro averages, Brier score, log loss, calibration error.",
        "uncertainty": f"95 % confidence intervals with patients as independent units: Wilson's, and {metrics['bootstrap_resamples']:,} bootstrap resamples of patients (seed {metrics['bootstrap_seed']}).",
        "robustness": f"Audited: {AUDIT_OF_LOOK}." if audit else None,
        "explanation": f"Audited: {AUDIT_OF_LOOK}." if audit else None,
        "internal": internal,
        "external": "In the section External validation." if metrics["external"] else None,
        "clusters": None,
        "fairness": f"Figures by {groups}: in the sections Subgroups." if groups else None,
        "updating": f"The model was not changed. A temperature fitted again on the val split is {refitted['temperature']:.3g}."
        if refitted
        else "The model was not changed.",
    }


def _of_results(metrics: Mapping[str, Any]) -> dict[str, str | None]:
    bounds = metrics["accuracy_interval"]
    interval = f" (95 % CI {bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else ""
    return {
        "included": f"{metrics['n_scored']:,} images in the figures, of {metrics['n_images']:,} with a label; "
        f"{metrics['n_errors']:,} errors, {metrics['n_missing']:,} without a prediction; {metrics['n_patients']:,} patients.",
        "performance": f"Accuracy {metrics['accuracy']:.3f}{interval}; all figures in the section Classes.",
        "failures": "The most confident mistakes are shown, and metrics.json names 50; causes were not studied.",
        "limitations": "In the section Limits.",
        "poor_input": "A file that cannot be read becomes a row with the reason, and no label.",
    }


def _of_release(facts: ModelFacts) -> dict[str, str | None]:
    licences = sorted({str(card["source"]["licence"]) for card in facts.cards if card["source"].get("licence")})
    weights = f" Licence of the imported weights: {', '.join(licences)}." if licences else ""
    return {
        "availability": f"The program is cxr_ray (Apache-2.0).{weights} Whether weights and data can be had is not recorded."
    }
