"""Audit a classifier: run all checks, write the table of verdicts, audit.json and figures, and apply the gate."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cxr_ray.archive.datasets import dataset_fingerprint, read_dataset
from cxr_ray.archive.job_outputs import require_other_place
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.uris import join_uri, write_bytes
from cxr_ray.auditing.audit_figures import examples_png, heat_png, robustness_png, views_png
from cxr_ray.auditing.audit_images import Selection, select_images
from cxr_ray.auditing.audit_text import audit_text
from cxr_ray.auditing.finding import FROM_BEST, Finding, worst_verdict
from cxr_ray.auditing.heat_check import Heat, check_heat
from cxr_ray.auditing.leakage_check import check_leakage
from cxr_ray.auditing.marker_check import check_markers
from cxr_ray.auditing.network import AuditedNetwork, load_audited
from cxr_ray.auditing.region_check import View, check_regions
from cxr_ray.auditing.robustness_check import Curve, check_robustness
from cxr_ray.auditing.source_check import check_source
from cxr_ray.config.auditing import AuditConfig
from cxr_ray.config.terminal import print_line
from cxr_ray.errors import GateError


def audit_classifier(config: AuditConfig, show: Callable[[str], object] = print_line) -> dict[str, Any]:
    """Audit the classifier of `config.model_uri`, and write audit.json, audit.txt and figures to `config.output_uri`.

    Args:
        config: the classifier, the dataset, the output and the limits of the verdicts.
        show: function that is called with each line of the outcome.

    Returns:
        The content of audit.json.

    Raises:
        GateError: if the verdict is one of those on which `config.fail_on` says to fail; all files are written then.
        BundleError: if a bundle is missing, of another kind or damaged.
        DatasetError: if a split is empty, an image cannot be read, no label is known to the classifier, or the source is
            in no table.
        EngineError: if the engine that is named cannot compute the models.
        StorageError: if a table cannot be read or the output cannot be written.
    """
    inputs = {name: getattr(config, name) for name in ("model_uri", "dataset_uri", "segmenter_uri", "metadata_uri")}
    require_other_place(config.output_uri, **{name: uri for name, uri in inputs.items() if uri})
    dataset, network = read_dataset(config.dataset_uri), load_audited(config.model_uri, config.engine)
    leaks = check_leakage(dataset, config)
    images = select_images(dataset, network.classifier.card, config)
    outcome = run_checks(network, images, leaks, config)
    result = {
        "verdict": worst_verdict(outcome.findings),
        "model_id": network.classifier.card.model_id,
        "dataset_fingerprint": dataset_fingerprint(dataset),
        "n_answered": len(images.answered),
        "n_learned": len(images.learned),
        "findings": [finding.as_json() for finding in outcome.findings],
        "views": {view.name: view.as_json() for view in outcome.views},
        "curves": {curve.disturbance.name: list(curve.points()) for curve in outcome.curves},
        "notes": notes(images, config),
    }
    _write(result, figures(outcome, images, config), config, show)
    _apply_gate(result, config)
    return result


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What the checks found.

    Attributes:
        findings: the findings in the order of the checks.
        views: the answers to each view.
        heat: heat inside the lungs; None if it was not measured.
        curves: the answers to disturbed images.
    """

    findings: list[Finding]
    views: list[View]
    heat: Heat | None
    curves: list[Curve]


def run_checks(network: AuditedNetwork, images: Selection, leaks: list[Finding], config: AuditConfig) -> Outcome:
    """Run the checks that need the network, and put the findings about leaks at their place."""
    of_regions, views = check_regions(network, images, config)
    of_heat, heat = check_heat(network, images.answered, config)
    of_sources = check_source(network, images.learned, config)
    of_disturbances, curves = check_robustness(network, images.answered, config)
    of_markers = check_markers(network, images.answered, config)
    findings = [*of_regions, of_heat, *of_sources, *of_disturbances, *leaks, *of_markers]
    return Outcome(findings=findings, views=views, heat=heat, curves=curves)


def figures(outcome: Outcome, images: Selection, config: AuditConfig) -> dict[str, bytes]:
    """Draw the figures as PNG, by their names; that of heat only if it was measured."""
    drawn = {
        "views.png": views_png({view.name: view.as_json() for view in outcome.views}),
        "examples.png": examples_png(images.answered, config),
        "robustness.png": robustness_png(outcome.curves),
    }
    return drawn if outcome.heat is None else drawn | {"heat.png": heat_png(outcome.heat)}


def notes(images: Selection, config: AuditConfig) -> list[str]:
    """Say what was left out, or makes the figures weaker than they look."""
    found = [
        f"{count} images {'without a label' if label is None else f'of the class {label}'} are left out"
        for label, count in images.left_out.items()
    ]
    for one, name in ((images.answered, "answered images"), (images.learned, "images of probes")):
        if one.lungs is not None and (empty := int((~one.has_lungs).sum())):
            found.append(f"{empty} {name} have no lungs in their mask and are left out of the views")
    if "train" in config.retrain_splits:
        found.append("probes learn from train images: right only if the network itself has not learned from them")
    return found


def _write(result: dict[str, Any], drawn: dict[str, bytes], config: AuditConfig, show: Callable[[str], object]) -> None:
    text = audit_text(result)
    files = {"audit.json": (json.dumps(result, indent=2, allow_nan=False) + "\n").encode(), "audit.txt": text.encode()}
    for name, content in (files | drawn).items():
        write_bytes(join_uri(config.output_uri, name), content)
    write_run_record(config.output_uri, config, verdict=result["verdict"])
    for line in text.splitlines():
        show(line)
    show(join_uri(config.output_uri, "audit.json"))


def _apply_gate(result: dict[str, Any], config: AuditConfig) -> None:
    """Raise a GateError if the verdict is as bad as `fail_on` or worse."""
    if config.fail_on == "none" or FROM_BEST.index(result["verdict"]) < FROM_BEST.index(config.fail_on):
        return
    bad = {
        row["check"] for row in result["findings"] if FROM_BEST.index(row["verdict"]) >= FROM_BEST.index(config.fail_on)
    }
    raise GateError(
        f"the audit says {result['verdict']}, for check {', '.join(sorted(bad))}; read {config.output_uri}/audit.txt,"
        " or state other limits in a recipe"
    )
