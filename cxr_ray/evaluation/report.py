"""HTML reports: each is one page that includes its pictures and styles and loads no other file."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from cxr_ray.evaluation.thumbnails import ScoredImage, data_uri


def classifier_report_html(
    metrics: Mapping[str, Any], figures: Mapping[str, Mapping[str, bytes]], strip: Sequence[ScoredImage]
) -> str:
    """Render the report of one evaluation of a classifier.

    Args:
        metrics: content of metrics.json.
        figures: figures as PNG, by name and then by theme (`figures.THEMES`); `confusion_matrix` is always there.
        strip: scored images to show; the page separates mistakes from correct predictions and keeps the order of each.
    """
    return render_page(
        "classifier_report.html.j2",
        metrics=metrics,
        provenance=metrics["provenance"],
        figures={
            name: {theme: data_uri(png, "image/png") for theme, png in themes.items()}
            for name, themes in figures.items()
        },
        mistakes=[image for image in strip if not image.correct],
        hits=[image for image in strip if image.correct],
    )


def findings_report_html(metrics: Mapping[str, Any], areas: Mapping[str, bytes]) -> str:
    """Render the report of one evaluation of findings.

    Args:
        metrics: content of metrics.json.
        areas: figure of the areas as PNG by theme (`figures.THEMES`).
    """
    return render_page(
        "findings_report.html.j2",
        metrics=metrics,
        provenance=metrics["provenance"],
        areas={theme: data_uri(png, "image/png") for theme, png in areas.items()},
    )


def render_page(template: str, **content: object) -> str:
    """Render a template of this package with the given content, escaping HTML in every value."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "figure": _figure,
        "count": _count,
        "spaced": _spaced,
        "bounds": _bounds,
        "p_value": _p_value,
        "signed": _signed,
        "groupby_in_order": _groupby_in_order,
    }
    return environment.get_template(template).render(content)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _bounds(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.3f}–{interval[1]:.3f}"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.3f}".replace("-", "−")


def _p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _count(value: int) -> str:
    return f"{value:,}"


def _groupby_in_order(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Group neighbouring rows of one value, in their order; the filter `groupby` of Jinja would sort them."""
    return [(value, list(group)) for value, group in groupby(rows, key=lambda row: row[key])]


def _spaced(label: str) -> str:
    return label.replace("_", " ")
