"""Sections of an evaluation whose thresholds are chosen on the val split: calibration, operating points, abstention."""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from cxr_ray.archive.uris import exists, join_uri, read_bytes
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.errors import BundleError, CxrRayError
from cxr_ray.evaluation.scored_arrays import Scored
from cxr_ray.metrics.abstention import choose_abstention, figures_of_abstention
from cxr_ray.metrics.calibration import before_temperature, calibration_metrics, fit_temperature
from cxr_ray.metrics.calibration_interval import ece_evidence
from cxr_ray.metrics.intervals import difference_interval, proportion_interval
from cxr_ray.metrics.operating_points import choose_thresholds, figures_at
from cxr_ray.metrics.prevalence import predictive_values
from cxr_ray.metrics.risk_coverage import uncertainty_metrics

NO_VAL = "the predictions hold no image of the val split, on which thresholds are chosen"
IN_SAMPLE = "the evaluated images include the val split, on which thresholds are chosen"


def no_val_reason(val: Scored | None, split: str) -> str | None:
    """Say why no threshold can be chosen on the val split; None if it can."""
    if split in ("val", "all"):
        return IN_SAMPLE
    return NO_VAL if val is None or not len(val) else None


def compare_with_val(scored: Scored, val: Scored | None, config: EvaluateClassifierConfig) -> dict[str, Any] | None:
    """Compare the accuracy with that on the val split, of which a model that learned from val knows more.

    Returns:
        `n_images` of val, its `accuracy` and `interval`, `difference_interval` of the accuracy on the evaluated images minus that
        on val, and `is_suspicious`: whether the whole interval is below 0. None where no threshold is chosen on val.
    """
    if val is None or no_val_reason(val, config.split):
        return None
    both = [proportion_interval(one.right, np.ones_like(one.right), one.groups) for one in (val, scored)]
    accuracies = [float(one.right.mean()) for one in (val, scored)]
    if both[0] is None or both[1] is None:
        return None
    difference = difference_interval(accuracies[0], both[0], accuracies[1], both[1])
    return {
        "n_images": len(val),
        "accuracy": accuracies[0],
        "interval": [both[0].low, both[0].high],
        "difference_interval": [difference.low, difference.high],
        "is_suspicious": difference.high < 0,
    }


def calibration(
    scored: Scored, val: Scored | None, config: EvaluateClassifierConfig, model_ids: list[str]
) -> dict[str, Any]:
    """Compute the calibration as scored, before the temperature of the bundle, and with a temperature fitted on val.

    Images of classes that the model does not know are left out.

    Returns:
        `n_images`, `temperature` of the bundle, and `scored`, `before_temperature` and `refitted`, each with what
        `calibration_metrics` and `ece_evidence` return, and its `temperature` for the last; a section that cannot be computed is
        None, and its `..._missing` says why.
    """
    known = scored.of_known_classes()
    result: dict[str, Any] = {"n_images": len(known), "temperature": None}
    for name in ("scored", "before_temperature", "refitted"):
        result |= {name: None, f"{name}_missing": None}
    if not len(known):
        return result | {"scored_missing": "no image is of a class that the model knows"}
    result["scored"] = _calibrated(known, known.probabilities, config)
    temperature, missing = _temperature_of_bundle(config, model_ids)
    result |= {"temperature": temperature, "before_temperature_missing": missing}
    if temperature is not None:
        before = before_temperature(known.probabilities, temperature)
        result["before_temperature"] = _calibrated(known, before, config)
    result["refitted_missing"] = no_val_reason(val, config.split)
    if val is not None and result["refitted_missing"] is None:
        fitted = _fitted(val.of_known_classes())
        after = _calibrated(known, before_temperature(known.probabilities, 1 / fitted), config)
        result["refitted"] = after | {"temperature": fitted}
    return result


def _calibrated(known: Scored, probabilities: np.ndarray, config: EvaluateClassifierConfig) -> dict[str, Any]:
    drawing = {"resamples": config.bootstrap_draws, "seed": config.seed}
    evidence = ece_evidence(known.truth, probabilities, known.groups, **drawing)
    return calibration_metrics(known.truth, probabilities) | evidence


def _fitted(val: Scored) -> float:
    logs = np.log(np.maximum(val.probabilities, float(np.finfo(np.float32).tiny)))
    return fit_temperature(logs.astype(np.float32), val.truth) if len(val) else 1.0


def _temperature_of_bundle(config: EvaluateClassifierConfig, model_ids: list[str]) -> tuple[float | None, str | None]:
    """Find the temperature of the bundle, or the reason why it is not known.

    Raises:
        BundleError: if the bundle that the user named is not that of the predictions.
    """
    from cxr_ray.models.bundle import read_card

    uri = config.model_uri or _bundle_of_run(config.predictions_uri)
    if uri is None:
        return None, "run.json of the predictions names no single bundle; name it with --model-uri"
    try:
        card = read_card(uri)
    except CxrRayError as error:
        if config.model_uri:
            raise
        return None, f"the bundle that run.json names cannot be read: {error}"
    if model_ids != [card.model_id]:
        message = (
            f"bundle {uri} is of the model {card.model_id}, and the predictions of {', '.join(model_ids) or 'none'}"
        )
        if config.model_uri:
            raise BundleError(f"{message}; name the bundle that scored them, or leave model_uri out")
        return None, message
    return card.temperature, None


def _bundle_of_run(predictions_uri: str) -> str | None:
    record = join_uri(predictions_uri, "run.json")
    if not exists(record):
        return None
    try:
        uris = json.loads(read_bytes(record)).get("config", {}).get("model_uri")
    except (ValueError, AttributeError):
        return None
    uris = [uris] if isinstance(uris, str) else uris or []
    return uris[0] if len(uris) == 1 else None


def operating_points(
    scored: Scored, val: Scored | None, config: EvaluateClassifierConfig, internal: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Apply thresholds of each class, chosen on val or taken from the internal report, to the evaluated images.

    Returns:
        `chosen_on`, `targets`, `missing`, the reason why there are none, and `classes`: for each class and rule what
        `choose_thresholds` found (`chosen`), and what `figures_at` gives here.
    """
    targets = {"sensitivity": config.target_sensitivity, "specificity": config.target_specificity}
    result: dict[str, Any] = {"chosen_on": "val", "targets": targets, "missing": None, "classes": {}}
    chosen: dict[str, Any] = {}
    if internal is not None:
        found = internal["operating_points"]
        result |= {"chosen_on": "internal", "targets": found["targets"], "missing": found["missing"]}
        chosen = {label: {r: one["chosen"] for r, one in rules.items()} for label, rules in found["classes"].items()}
    else:
        result["missing"] = no_val_reason(val, config.split)
    if val is not None and internal is None and result["missing"] is None:
        for k, label in enumerate(val.labels):
            positive, score = val.truth == k, val.probabilities[:, k]
            if positive.any() and not positive.all() and np.isfinite(score).all():
                chosen[label] = choose_thresholds(positive, score, **targets)
    for k, label in enumerate(scored.labels):
        if label in chosen and np.isfinite(scored.probabilities[:, k]).all():
            of_class = scored.truth == k, scored.probabilities[:, k], scored.groups
            result["classes"][label] = {
                rule: {"chosen": one} | figures_at(one["threshold"], *of_class) for rule, one in chosen[label].items()
            }
    return result


def abstention(
    scored: Scored, val: Scored | None, config: EvaluateClassifierConfig, internal: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Compute the risk-coverage curve, and what the model reaches above a threshold of its confidence.

    Returns:
        `risk_coverage`, what `uncertainty_metrics` returns for 1 - confidence and mistakes; `target_accuracy`; `threshold` and
        `chosen_on` (`val`, `internal` or `option`); `missing`, the reason why there is no threshold; and what
        `figures_of_abstention` gives, if there is one.
    """
    wrong = (~scored.right).astype(np.float64)
    result: dict[str, Any] = {
        "risk_coverage": uncertainty_metrics(1 - scored.confidence, wrong),
        "target_accuracy": config.target_accuracy,
        "threshold": config.abstain_below,
        "chosen_on": "option",
        "missing": None,
    }
    if config.abstain_below is None and internal is not None:
        found = internal["abstention"]
        result |= {name: found[name] for name in ("threshold", "missing", "target_accuracy")} | {
            "chosen_on": "internal"
        }
    elif config.abstain_below is None:
        result |= {"chosen_on": "val", "missing": no_val_reason(val, config.split)}
        if val is not None and result["missing"] is None:
            result["threshold"] = choose_abstention(val.confidence, val.right, config.target_accuracy)
            if result["threshold"] is None:
                result["missing"] = f"no threshold reaches an accuracy of {config.target_accuracy:g} on the val split"
    if result["threshold"] is not None:
        result |= figures_of_abstention(result["threshold"], scored.confidence, scored.right, scored.groups)
    return result


def at_prevalences(scored: Scored, config: EvaluateClassifierConfig) -> dict[str, dict[str, Any]]:
    """Compute PPV and NPV of each class with a stated prevalence, by label; see `predictive_values`."""
    stated = config.prevalences()
    found = {}
    for k, label in enumerate(scored.labels):
        prevalence = stated.get(label, stated.get(None))
        if prevalence is not None:
            flags = scored.truth == k, scored.predicted == k
            found[label] = predictive_values(*flags, scored.groups, prevalence, seed=config.seed)
    return found
