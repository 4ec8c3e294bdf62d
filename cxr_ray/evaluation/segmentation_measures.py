"""Compute the metrics of an evaluation of masks from its rows: of all images, classes, lungs, readers and other segmenters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cxr_ray.config.segmentation_evaluation import EvaluateSegmenterConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.evaluate_classifier import count_errors
from cxr_ray.evaluation.mask_judgement import FIGURES, SEGMENTED, SIDES
from cxr_ray.evaluation.scored_arrays import PATIENT
from cxr_ray.evaluation.second_reader import SECOND_URI
from cxr_ray.evaluation.truth_join import MISSING
from cxr_ray.metrics.risk_coverage import uncertainty_metrics
from cxr_ray.metrics.segmentation_summary import Summary, summarise, summarise_differences

MAX_NAMED = 5
"""Maximum number of images that the report names: those without a row, and those on which readers differ most."""


def measure(rows: pa.Table, config: EvaluateSegmenterConfig) -> dict[str, Any]:
    """Compute the metrics, ready for strict JSON, of rows from `judge` with the column `PATIENT`.

    Every metric excludes failures (errors and images without a row), except `dsc_failures_as_zero`, which counts the
    DSC of a failure as 0. Distances in mm are of the images whose pixel spacing is known, `n_with_spacing`.
    """
    judged = judged_rows(rows)
    missing = rows.filter(pc.equal(rows["status"], MISSING))["image_id"].to_pylist()
    errors = count_errors(rows)
    failures = sum(errors.values()) + len(missing)
    areas = [judged[name].to_numpy() > 0 for name in ("predicted_area_fraction", "true_area_fraction")]
    labels = sorted(filter(None, pc.unique(rows["label"]).to_pylist()))
    sources = judged["spacing_source"].drop_null().value_counts().to_pylist()
    return {
        "n_images": rows.num_rows,
        "n_judged": judged.num_rows,
        "n_patients": pc.count_distinct(judged[PATIENT]).as_py(),
        "n_failures": failures,
        "n_errors": failures - len(missing),
        "n_missing": len(missing),
        "missing_first": missing[:MAX_NAMED],
        "errors_by_kind": errors,
        "n_truth_unreadable": rows.num_rows - judged.num_rows - failures,
        "n_both_empty": int((~areas[0] & ~areas[1]).sum()),
        "n_one_empty": int((areas[0] ^ areas[1]).sum()),
        "n_with_spacing": sum(source["counts"] for source in sources),
        "spacing_sources": {source["values"]: source["counts"] for source in sources},
        "n_filled": int((judged["filled_area_fraction"].to_numpy() > 0).sum()),
        **summary_of(judged),
        "uncertainty": uncertainty_metrics(judged["uncertainty"].to_numpy(), 1 - judged["dsc"].to_numpy()),
        "dsc_failures_as_zero": pc.sum(judged["dsc"]).as_py() / (judged.num_rows + failures),
        "per_class": {label: _of_class(rows.filter(pc.equal(rows["label"], label))) for label in labels},
        "lungs": of_lungs(judged) if config.lungs else None,
        **{name: getattr(config, name) for name in ("tolerance", "tolerance_mm", "pixel_spacing_mm", "fill_holes")},
    }


def judged_rows(rows: pa.Table) -> pa.Table:
    """Select the rows whose masks were compared."""
    return rows.filter(pc.is_in(rows["status"], value_set=pa.array(SEGMENTED)))


def summary_of(judged: pa.Table, prefix: str = "") -> dict[str, Summary]:
    """Summarise `FIGURES` over rows from `judge` with the column `PATIENT`; a `prefix` chooses those of a lung or reader."""
    return summarise(_figures_of(judged, prefix), _patients(judged))


def _figures_of(rows: pa.Table, prefix: str = "") -> dict[str, NDArray[np.float64]]:
    return {figure: rows[prefix + figure].to_numpy().astype(np.float64) for figure in FIGURES}


def _patients(rows: pa.Table) -> NDArray[np.int64]:
    return np.asarray(rows[PATIENT].to_numpy(), np.int64)


def _of_class(rows: pa.Table) -> dict[str, Any]:
    judged = judged_rows(rows)
    failed = pc.sum(pc.is_in(rows["status"], value_set=pa.array(["error", MISSING]))).as_py()
    counts = {"n_images": rows.num_rows, "n_judged": judged.num_rows, "n_failures": failed}
    return counts | summary_of(judged)


def of_lungs(judged: pa.Table) -> dict[str, Any]:
    """Summarise each lung over the images whose truth has two lungs; `n_missing` counts lungs without a predicted pixel."""
    paired = judged.filter(pc.is_valid(judged["right_dsc"]))
    sides = {
        side: {"n_missing": pc.sum(paired[f"{side}_missing"]).as_py() or 0, **summary_of(paired, f"{side}_")}
        for side in SIDES
    }
    return {"n_images": paired.num_rows, "n_without_pair": judged.num_rows - paired.num_rows, **sides}


def of_readers(rows: pa.Table, images: pa.Table, config: EvaluateSegmenterConfig) -> dict[str, Any] | None:
    """Compare the agreement of two readers with that of the predictions with each, on the same images.

    Args:
        rows: rows from `judge` with the column `PATIENT`.
        images: rows from `with_second_masks`, or of `schema.DATASET` if there is no second reader.
        config: config of this evaluation.

    Returns:
        None without a second reader, else its URI, counts, the images on which the readers differ most, and the summaries
        `readers` (second compared with first), `first`, `second` (predictions compared with each), and
        `first_minus_readers`, `second_minus_readers` (paired differences; above 0 for DSC where the predictions are closer
        to that reader than the other reader is).

    Raises:
        DatasetError: if no judged image has a second mask that can be read.
    """
    if SECOND_URI not in images.column_names:
        return None
    judged = judged_rows(rows)
    both = judged.filter(pc.is_valid(judged["readers_dsc"]))
    if not both.num_rows:
        raise DatasetError(
            f"no image that was judged has a readable mask in {config.second_masks_uri}; check these masks"
        )
    figures = {name: _figures_of(both, prefix) for name, prefix in _READER_COLUMNS.items()}
    differences = {
        f"{name}_minus_readers": summarise_differences(figures[name], figures["readers"], _patients(both))
        for name in ("first", "second")
    }
    lowest = both.sort_by([("readers_dsc", "ascending"), ("image_id", "ascending")]).slice(0, MAX_NAMED)
    unreadable = pc.sum(pc.is_valid(judged["second_error_kind"])).as_py()
    return {
        "second_masks_uri": config.second_masks_uri,
        "n_images": both.num_rows,
        "n_unreadable": unreadable,
        "n_without_second": judged.num_rows - both.num_rows - unreadable,
        **{name: summarise(of_pair, _patients(both)) for name, of_pair in figures.items()},
        **differences,
        "lowest": [dict(row) for row in lowest.select(["image_id", "readers_dsc", "dsc", "second_dsc"]).to_pylist()],
    }


_READER_COLUMNS = {"readers": "readers_", "first": "", "second": "second_"}
"""Prefix of the columns of each pair of masks."""


def of_segmenters(uris: Sequence[str], tables: Sequence[pa.Table]) -> list[dict[str, Any]]:
    """Summarise several segmenters over the images for which all of them have a mask.

    Args:
        uris: URI of the masks of each segmenter, at least two.
        tables: rows from `judge` of each segmenter for the same images, with the column `PATIENT`.

    Returns:
        One summary for each segmenter; all but the first have `minus_first`, the paired differences to the first.

    Raises:
        DatasetError: if no image has a mask of every segmenter.
    """
    common = set.intersection(*(set(judged_rows(table)["image_id"].to_pylist()) for table in tables))
    if not common:
        raise DatasetError(
            f"no image has a mask in each of {', '.join(uris)}; segment the same images with every segmenter"
        )
    wanted = pa.array(sorted(common))
    kept = [table.filter(pc.is_in(table["image_id"], value_set=wanted)).sort_by("image_id") for table in tables]
    summaries = []
    for uri, rows in zip(uris, kept, strict=True):
        names = {"predictions_uri": uri, "model_id": ", ".join(filter(None, pc.unique(rows["model_id"]).to_pylist()))}
        minus = summarise_differences(_figures_of(rows), _figures_of(kept[0]), _patients(rows))
        difference = {} if rows is kept[0] else {"minus_first": minus}
        summaries.append(names | {"n_images": rows.num_rows} | summary_of(rows) | difference)
    return summaries
