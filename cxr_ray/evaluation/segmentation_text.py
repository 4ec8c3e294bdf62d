"""The metrics of an evaluation of masks as plain text, and the names of the metrics in both reports."""

from collections.abc import Mapping, Sequence
from typing import Any

from cxr_ray.evaluation.flagged_images import excluded_line
from cxr_ray.metrics.risk_coverage import uncertainty_line
from cxr_ray.metrics.segmentation import METRICS, MM_METRICS

CELL = 24
"""Characters of a column that holds a mean and its interval."""
SOURCES = {
    "pixel_spacing": "Pixel Spacing",
    "imager_pixel_spacing": "Imager Pixel Spacing (at the detector)",
    "nominal_scanned_pixel_spacing": "Nominal Scanned Pixel Spacing (of a film)",
    "given": "--pixel-spacing-mm",
}
"""What each source of a pixel spacing is called in a report."""

Rows = Sequence[tuple[str, Mapping[str, Any]]]
"""Names and summaries of the rows of a table; the first name is its title, whose summary is empty."""


def metric_names(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Name every metric with its tolerance or unit."""
    return METRICS | {
        "nsd": f"NSD at {metrics['tolerance']:g} px",
        "hd95": "HD95 (px)",
        "nsd_mm": f"NSD at {metrics['tolerance_mm']:g} mm",
        "hd95_mm": "HD95 (mm)",
    }


def shown_metrics(metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Choose the metrics that a report shows: those in mm only if the pixel spacing of an image is known."""
    return (*METRICS, *(MM_METRICS if metrics["n_with_spacing"] else ()))


def report_text(metrics: Mapping[str, Any]) -> str:
    """Write the content of metrics.json as plain text: a table of all images, other tables, and counts of images."""
    names, shown = metric_names(metrics), shown_metrics(metrics)
    lines = [f"{'':<18}{'n':>9}{'mean':>9}{'sd':>9}{'median':>9}   95 % interval of the mean"]
    for metric in shown:
        row = metrics[metric]
        figures = "".join(f"{_figure(row[key]):>9}" for key in ("mean", "sd", "median"))
        lines.append(
            f"{names[metric]:<18}{row['n']:>9,}{figures}   {' to '.join(map(_figure, row['interval'] or [None]))}"
        )
    for rows in (lung_rows(metrics), class_rows(metrics), reader_rows(metrics), segmenter_rows(metrics)):
        if rows:
            lines += ["", *_table(rows, {metric: names[metric] for metric in shown})]
    if metrics["readers"]:
        lines += [lowest_line(metrics["readers"])]
    if metrics["uncertainty"]:
        lines += ["", uncertainty_line(metrics["uncertainty"])]
    return "\n".join([*lines, "", *_count_lines(metrics)]) + "\n"


def _table(rows: Rows, names: Mapping[str, str]) -> list[str]:
    """Write a table of means and their 95 % intervals."""
    (title, _), *others = rows
    width = max(len(name) for name, _ in rows) + 2
    lines = [f"{title:<{width}}" + "".join(f"{name:>{CELL}}" for name in names.values())]
    for name, row in others:
        lines.append(f"{name:<{width}}" + "".join(f"{_cell(row[metric]):>{CELL}}" for metric in names))
    return lines


def lung_rows(metrics: Mapping[str, Any]) -> Rows:
    """Name the rows of each lung; [] if lungs are not divided."""
    lungs = metrics["lungs"]
    if not lungs:
        return []
    rows = [
        (f"{side} lung of the patient (missing: {lungs[side]['n_missing']:,})", lungs[side])
        for side in ("right", "left")
    ]
    return [(f"{lungs['n_images']:,} images with two true lungs", {}), *rows]


def class_rows(metrics: Mapping[str, Any]) -> Rows:
    """Name the row of each class; [] if images have no label."""
    classes = metrics["per_class"].items()
    rows = [(f"{label} ({row['n_judged']:,}, failed: {row['n_failures']:,})", row) for label, row in classes]
    return [("class (images)", {}), *rows] if rows else []


def reader_rows(metrics: Mapping[str, Any]) -> Rows:
    """Name the rows of the two readers; [] if there is one."""
    readers = metrics["readers"]
    if not readers:
        return []
    return [
        (f"{readers['n_images']:,} images of both readers", {}),
        ("second reader with the first", readers["readers"]),
        ("predictions with the first", readers["first"]),
        ("predictions with the second", readers["second"]),
        ("difference, first", readers["first_minus_readers"]),
        ("difference, second", readers["second_minus_readers"]),
    ]


def lowest_line(readers: Mapping[str, Any]) -> str:
    """Say how the readers agree on the median image, and where they differ most."""
    worst = ", ".join(f"{row['image_id']} {_figure(row['readers_dsc'])}" for row in readers["lowest"])
    return (
        f"Median DSC of the readers: {_figure(readers['readers']['dsc']['median'])}; a difference is that of the predictions"
        f" minus that of the readers, on the same images. The readers differ most on: {worst}"
    )


def segmenter_rows(metrics: Mapping[str, Any]) -> Rows:
    """Name the row of each segmenter, and that of its difference to the first; [] if there is one."""
    segmenters = metrics["comparison"]
    if not segmenters:
        return []
    rows: list[tuple[str, Mapping[str, Any]]] = [(f"{segmenters[0]['n_images']:,} common images", {})]
    for one in segmenters:
        name = one["model_id"] or one["predictions_uri"]
        rows.append((name, one))
        if "minus_first" in one:
            rows.append(("  difference to the first", one["minus_first"]))
    return rows


def _count_lines(metrics: Mapping[str, Any]) -> list[str]:
    """Write how many images the metrics include, and how many they exclude for each reason."""
    empty = f"two empty masks: {metrics['n_both_empty']:,}, one empty mask: {metrics['n_one_empty']:,}"
    lines = [f"Images judged: {metrics['n_judged']:,} of {metrics['n_images']:,} ({empty})"]
    if metrics["n_one_empty"]:
        lines.append("HD95 of an image with one empty mask is the diagonal of the image.")
    lines += [spacing_line(metrics), interval_line(metrics)]
    if metrics["fill_holes"]:
        lines.append(f"Images whose predicted mask had holes, which were filled: {metrics['n_filled']:,}")
    if metrics["n_failures"]:
        kinds = f"with an error: {metrics['n_errors']:,}, without a row: {metrics['n_missing']:,}"
        with_them = _figure(metrics["dsc_failures_as_zero"])
        lines.append(
            f"Images failed: {metrics['n_failures']:,} ({kinds}); with their DSC as 0, the mean DSC is {with_them}"
        )
    if metrics["missing_first"]:
        lines.append("First images without a row: " + ", ".join(metrics["missing_first"]))
    if metrics["lungs"] and metrics["lungs"]["n_without_pair"]:
        lines.append(f"Images whose true mask does not have two lungs: {metrics['lungs']['n_without_pair']:,}")
    return lines + _excluded_lines(metrics)


def _excluded_lines(metrics: Mapping[str, Any]) -> list[str]:
    readers = metrics["readers"] or {"n_unreadable": 0, "n_without_second": 0}
    counts = {
        "Images excluded because their true mask cannot be read": metrics["n_truth_unreadable"],
        "Images excluded because the cascade's rule skipped them": metrics["n_skipped"],
        "Images excluded because they have no true mask": metrics["n_without_truth"],
        "Images without a mask of the second reader": readers["n_without_second"],
        "Images whose mask of the second reader cannot be read": readers["n_unreadable"],
    }
    by_flag = excluded_line(metrics["excluded_by_flag"], metrics["n_excluded_by_flag"])
    return [f"{name}: {count:,}" for name, count in counts.items() if count] + [by_flag] * bool(by_flag)


def spacing_line(metrics: Mapping[str, Any]) -> str:
    """Say of how many images the pixel spacing is known, and from where."""
    known, judged = metrics["n_with_spacing"], metrics["n_judged"]
    if not known:
        return f"Pixel spacing: known for 0 of {judged:,} images, so that distances are in pixels only"
    sources = ", ".join(f"{SOURCES[name]}: {count:,}" for name, count in metrics["spacing_sources"].items())
    return f"Pixel spacing: known for {known:,} of {judged:,} images, the only ones in figures in mm ({sources})"


def interval_line(metrics: Mapping[str, Any]) -> str:
    """Say what the intervals are."""
    unknown = metrics["n_without_patient"]
    alone = f"; {unknown:,} images of unknown patients count as of one patient each" if unknown else ""
    return f"95 % intervals: Student's t over {metrics['n_patients']:,} patients{alone}"


def _cell(row: Mapping[str, Any]) -> str:
    """Write a mean and its interval, such as `0.965 [0.958, 0.971]`."""
    bounds = f" [{', '.join(map(_figure, row['interval']))}]" if row["interval"] else ""
    return _figure(row["mean"]) + bounds


def _figure(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
