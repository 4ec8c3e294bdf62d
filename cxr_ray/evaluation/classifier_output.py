"""Write the files of the evaluation of a classifier."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import join_uri, write_bytes
from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.evaluation.classifier_figures import abstention_png, classes_png, external_png, reliability_png
from cxr_ray.evaluation.figures import THEMES, Palette, confusion_matrix_png
from cxr_ray.evaluation.report import classifier_report_html
from cxr_ray.evaluation.thumbnails import choose_images, scored_images


def write_evaluation(config: EvaluateClassifierConfig, rows: pa.Table, metrics: dict[str, Any], report: str) -> None:
    """Write metrics.json, report.txt, report.html, figures and rows.parquet, and print the report and its URI.

    Args:
        config: config of the evaluation, whose `output_uri` receives the files.
        rows: a row for each image.
        metrics: content of metrics.json.
        report: text of report.txt.

    Raises:
        StorageError: if the output cannot be written.
    """
    strip = scored_images(choose_images(rows, config.strip_images))
    drawn = {theme: draw_figures(metrics, palette) for theme, palette in THEMES.items()}
    figures = {name: {theme: drawn[theme][name] for theme in THEMES} for name in drawn["light"]}
    files = {
        "metrics.json": (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode(),
        "report.txt": report.encode(),
        "report.html": classifier_report_html(metrics, figures, strip).encode(),
        **{f"{name}.png": png for name, png in drawn["light"].items()},
    }
    for name, content in files.items():
        write_bytes(join_uri(config.output_uri, name), content)
    write_table(rows, join_uri(config.output_uri, "rows.parquet"))
    write_run_record(config.output_uri, config, accuracy=metrics["accuracy"])
    print(f"{report}\n{join_uri(config.output_uri, 'report.html')}")


def draw_figures(metrics: dict[str, Any], palette: Palette) -> dict[str, bytes]:
    """Draw the figures of a report as PNG, by name; a figure that would show nothing is missing."""
    confusion = np.array(metrics["confusion_matrix"])
    found = {"confusion_matrix": confusion_matrix_png(confusion, metrics["labels"], palette)}
    found["classes"] = classes_png(metrics["per_class"], palette)
    if metrics["calibration"]["scored"]:
        found["reliability"] = reliability_png(metrics["calibration"], palette)
    if metrics["abstention"]["risk_coverage"]:
        found["risk_coverage"] = abstention_png(metrics["abstention"], palette)
    if metrics["external"]:
        found["external_validation"] = external_png(metrics["external"], palette)
    return found
