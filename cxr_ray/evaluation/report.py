"""The report: one HTML page that needs nothing but itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cxr_ray.evaluation.thumbnails import ScoredImage, data_uri


def classifier_report_html(
    metrics: Mapping[str, Any], confusion_matrix: Mapping[str, bytes], strip: Sequence[ScoredImage]
) -> str:
    """The report of one evaluation.

    Args:
        metrics: content of metrics.json.
        confusion_matrix: the figure as PNG for each of `figures.THEMES`.
        strip: scored images to show, mistakes apart from correct ones, each in the order given.
    """
    return render_page(
        "classifier_report.html.j2",
        metrics=metrics,
        provenance=metrics["provenance"],
        confusion_matrix={theme: data_uri(png, "image/png") for theme, png in confusion_matrix.items()},
        mistakes=[image for image in strip if not image.correct],
        hits=[image for image in strip if image.correct],
    )


def render_page(template: str, **content: object) -> str:
    """A template of this folder filled with `content`; everything in it is escaped."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"figure": _figure, "count": _count, "spaced": _spaced}
    return environment.get_template(template).render(content)


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _count(value: int) -> str:
    return f"{value:,}"


def _spaced(label: str) -> str:
    return label.replace("_", " ")
