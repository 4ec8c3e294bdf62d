"""Evaluate the masks of a segmenter against true masks: metrics, a sheet of contours, a table of rows and an HTML report."""

import json
import logging
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import read_dataset, refuse_duplicates
from cxr_ray.archive.job_outputs import require_other_place
from cxr_ray.archive.masks_table import SKIPPED, read_masks
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.same_content import CONTENT, refuse_other_content
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import join_uri, write_bytes
from cxr_ray.config.segmentation_evaluation import EvaluateSegmenterConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.evaluate_classifier import count_errors
from cxr_ray.evaluation.provenance import describe
from cxr_ray.evaluation.segmentation_sheet import draw_panels, segmentation_report_html, sheet_png
from cxr_ray.evaluation.true_masks import load_pictures, masks_of
from cxr_ray.evaluation.truth_join import MISSING
from cxr_ray.imaging.decode import DecodedImage
from cxr_ray.metrics.risk_coverage import uncertainty_metrics
from cxr_ray.metrics.segmentation import METRICS, mask_agreement, report_text, summarise
from cxr_ray.schema import PROVENANCE_FIELDS

SEGMENTED = ("ok", "empty")  # statuses of an image that has a mask, with pixels or without
TRUTH_UNREADABLE = "truth_unreadable"  # status of an image whose true mask cannot be read
JUDGEMENT = pa.schema(
    [
        ("status", pa.string()),
        ("error_kind", pa.string()),
        *((metric, pa.float64()) for metric in METRICS),
        ("uncertainty", pa.float64()),
        ("predicted_area_fraction", pa.float64()),
        ("true_area_fraction", pa.float64()),
    ]
)
ROWS_AT_ONCE = 1024  # converted from Arrow together; the log has one line for each such chunk
MAX_NAMED = 5  # images without a row that the report names
log = logging.getLogger("cxr_ray")


def evaluate_segmenter(config: EvaluateSegmenterConfig) -> dict[str, Any]:
    """Evaluate masks, and write metrics.json, report.txt, report.html, segmentations.png and rows.parquet.

    The files go to the folder `config.output_uri`; the text of report.txt and the URI of report.html are printed.

    Returns:
        The content of metrics.json.

    Raises:
        DatasetError: if a table contains an image twice, a row with status `ok` has no mask, a mask is of another file than
            the dataset's image, or no image of the split has both a true and a predicted mask.
        ConfigError: if the output is the folder of the masks.
        StorageError: if a table cannot be read, a predicted mask cannot be decoded, or the output cannot be written.
    """
    require_other_place(config.output_uri, predictions_uri=config.predictions_uri, dataset_uri=config.dataset_uri)
    dataset = read_dataset(config.dataset_uri)
    refuse_duplicates(dataset, config.dataset_uri, "prepare the dataset again")
    of_split = dataset if config.split == "all" else dataset.filter(pc.equal(dataset["split"], config.split))
    with_truth = of_split.filter(pc.is_valid(of_split["mask_uri"]))
    masks = read_masks(config.predictions_uri, with_truth)
    images = without_skipped(with_truth, masks)
    joined = join_masks(images, masks)
    require_segmented(joined, config)
    rows = judge(joined, config)

    metrics = measure(rows, config) | {"n_without_truth": of_split.num_rows - with_truth.num_rows}
    metrics["n_skipped"] = with_truth.num_rows - images.num_rows
    metrics["provenance"] = describe(rows, dataset, config)
    metrics["comparison"] = compare(images, masks, rows, config)
    report, panels = report_text(metrics), draw_panels(joined, rows)
    files = {
        "metrics.json": (json.dumps(metrics, indent=2, allow_nan=False) + "\n").encode(),
        "report.txt": report.encode(),
        "report.html": segmentation_report_html(metrics, panels).encode(),
        "segmentations.png": sheet_png(panels),
    }
    for name, content in files.items():
        write_bytes(join_uri(config.output_uri, name), content)
    write_table(rows, join_uri(config.output_uri, "rows.parquet"))
    write_run_record(config.output_uri, config, dsc=metrics["dsc"]["mean"], nsd=metrics["nsd"]["mean"])
    print(f"{report}\n{join_uri(config.output_uri, 'report.html')}")
    return metrics


def without_skipped(images: pa.Table, masks: pa.Table) -> pa.Table:
    """Remove the images that the rule of a cascade skipped, because a skipped image is not a failure.

    Args:
        images: rows of `schema.DATASET` with a `mask_uri`.
        masks: rows of `read_masks`.

    Raises:
        DatasetError: if the rule skipped all images.
    """
    skipped = masks["image_id"].filter(pc.equal(masks["status"], SKIPPED))
    kept = images.filter(pc.invert(pc.is_in(images["image_id"], value_set=pc.unique(skipped))))
    if images.num_rows and not kept.num_rows:
        raise DatasetError(
            f"the rule of the cascade skipped all {images.num_rows:,} images with a mask_uri;"
            " score them with more --segment-labels or a lower --segment-min-confidence"
        )
    return kept


def join_masks(images: pa.Table, masks: pa.Table) -> pa.Table:
    """Join images with masks: one row per image, sorted by `image_id`, with status `missing` if `masks` has no row of it.

    Args:
        images: rows of `schema.DATASET` with a `mask_uri`, each `image_id` once.
        masks: rows of `read_masks`, each `image_id` once.
    """
    truth = images.select(["image_id", "uri", "label", "mask_uri"])
    joined = truth.join(masks, keys="image_id", join_type="left outer").sort_by("image_id")
    position = joined.column_names.index("status")
    return joined.set_column(position, "status", pc.fill_null(joined["status"], MISSING))


def require_segmented(joined: pa.Table, config: EvaluateSegmenterConfig) -> None:
    """Raise a DatasetError that names the dataset unless at least one image with a `mask_uri` was segmented."""
    split = f"split {config.split!r} of {config.dataset_uri}"
    if not joined.num_rows:
        raise DatasetError(
            f"{split} has no image with a mask_uri; choose another split, or prepare a dataset that has masks"
        )
    if pc.any(pc.is_in(joined["status"], value_set=pa.array(SEGMENTED))).as_py():
        return
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in count_errors(joined).items())
    images = f"the {joined.num_rows:,} images with a mask_uri in {split}"
    if kinds:
        raise DatasetError(f"{config.predictions_uri} segmented none of {images}; fix the errors: {kinds}")
    if skipped := pc.sum(pc.equal(joined["status"], SKIPPED)).as_py():
        raise DatasetError(
            f"{config.predictions_uri} segmented none of {images}: the rule of the cascade skipped {skipped:,};"
            " score them with more --segment-labels or a lower --segment-min-confidence"
        )
    raise DatasetError(
        f"{config.predictions_uri} holds no row for {images}; run segment_archive.py on the archive of the dataset"
    )


def judge(joined: pa.Table, config: EvaluateSegmenterConfig) -> pa.Table:
    """Compare every predicted mask with its true mask.

    Args:
        joined: rows from `join_masks`, at least one of them segmented.
        config: tolerance and pixel spacing of the comparison; its dataset is named in errors.

    Returns:
        `image_id, uri, label`, the columns of `JUDGEMENT` and the provenance of the mask, one row for each row of
        `joined`. Metrics are null where no masks were compared.

    Raises:
        DatasetError: if the true mask of no image can be read.
        StorageError: if a predicted mask cannot be decoded.
    """
    is_segmented = pc.is_in(joined["status"], value_set=pa.array(SEGMENTED))
    truths = load_pictures(joined["mask_uri"].filter(is_segmented).to_pylist())
    judgements: list[dict[str, Any]] = []
    for start in range(0, joined.num_rows, ROWS_AT_ONCE):
        rows = joined.slice(start, ROWS_AT_ONCE).to_pylist()
        judgements += [_judgement(row, next(truths) if row["status"] in SEGMENTED else None, config) for row in rows]
        log.info("judged %d of %d images", len(judgements), joined.num_rows)
    if not any(judgement["status"] in SEGMENTED for judgement in judgements):
        kind = next(one["error_kind"] for one in judgements if one["status"] == TRUTH_UNREADABLE)
        raise DatasetError(f"no true mask of {config.dataset_uri} can be read ({kind}); prepare the dataset again")
    judged = pa.Table.from_pylist(judgements, JUDGEMENT)
    kept = joined.select(["image_id", "uri", "label", *(field.name for field in PROVENANCE_FIELDS)])
    for position, name in enumerate(judged.column_names, start=3):
        kept = kept.add_column(position, name, judged[name])
    return kept


def _judgement(row: dict[str, Any], truth: DecodedImage | None, config: EvaluateSegmenterConfig) -> dict[str, Any]:
    """Compute the values of `JUDGEMENT` for one image; `truth` is None if the image has no predicted mask."""
    if truth is None:
        return {"status": row["status"], "error_kind": row["error_kind"]}
    if truth.pixels is None:
        return {"status": TRUTH_UNREADABLE, "error_kind": truth.error_kind}
    predicted, true = masks_of(row, truth)
    spacing = None if config.pixel_spacing_mm is None else (config.pixel_spacing_mm, config.pixel_spacing_mm)
    agreement = mask_agreement(predicted, true, tolerance=config.tolerance, spacing=spacing)
    return {
        "status": row["status"],
        **{metric: getattr(agreement, metric) for metric in METRICS},
        "uncertainty": row["uncertainty"],
        "predicted_area_fraction": agreement.predicted_area / true.size,
        "true_area_fraction": agreement.true_area / true.size,
    }


def measure(rows: pa.Table, config: EvaluateSegmenterConfig) -> dict[str, Any]:
    """Compute the metrics, ready for strict JSON, of the rows from `judge`.

    Every metric excludes failures (errors and images without a row), except `dsc_failures_as_zero`, which counts the
    DSC of a failure as 0.
    """
    judged = _judged(rows)
    missing = rows.filter(pc.equal(rows["status"], MISSING))["image_id"].to_pylist()
    errors = count_errors(rows)
    failures = sum(errors.values()) + len(missing)
    areas = [judged[name].to_numpy() > 0 for name in ("predicted_area_fraction", "true_area_fraction")]
    labels = sorted(filter(None, pc.unique(rows["label"]).to_pylist()))
    return {
        "n_images": rows.num_rows,
        "n_judged": judged.num_rows,
        "n_failures": failures,
        "n_errors": failures - len(missing),
        "n_missing": len(missing),
        "missing_first": missing[:MAX_NAMED],
        "errors_by_kind": errors,
        "n_truth_unreadable": rows.num_rows - judged.num_rows - failures,
        "n_both_empty": int((~areas[0] & ~areas[1]).sum()),
        "n_one_empty": int((areas[0] ^ areas[1]).sum()),
        **_summary(judged, config),
        "uncertainty": uncertainty_metrics(judged["uncertainty"].to_numpy(), 1 - judged["dsc"].to_numpy()),
        "dsc_failures_as_zero": pc.sum(judged["dsc"]).as_py() / (judged.num_rows + failures),
        "per_class": {label: _of_class(rows.filter(pc.equal(rows["label"], label)), config) for label in labels},
        **{name: getattr(config, name) for name in ("tolerance", "tolerance_unit", "pixel_spacing_mm")},
        **{name: getattr(config, name) for name in ("bootstrap_draws", "seed")},
    }


def compare(images: pa.Table, masks: pa.Table, rows: pa.Table, config: EvaluateSegmenterConfig) -> list[dict[str, Any]]:
    """Summarise this segmenter and each one in `config.compare_uris` over the images for which all of them have a mask.

    Args:
        images: rows of `schema.DATASET` with a `mask_uri`.
        masks: rows of `read_masks` of this segmenter.
        rows: rows from `judge` for this segmenter.
        config: config of this evaluation.

    Returns:
        One summary for each segmenter, this one first; [] if `config.compare_uris` is empty.

    Raises:
        DatasetError: if a segmenter has no mask of these images, two segmented different files of one name, or no image
            has a mask of every segmenter.
        StorageError: if a table of masks cannot be read, or a mask cannot be decoded.
    """
    if not config.compare_uris:
        return []
    others, contents = [], {config.predictions_uri: masks}
    for uri in config.compare_uris:
        one = replace(config, predictions_uri=uri, compare_uris=())
        found = read_masks(uri, images)
        _refuse_other_files(found, uri, contents)
        contents[uri] = found.select(["image_id", "status", CONTENT])
        joined = join_masks(images, found)
        require_segmented(joined, one)
        others.append(judge(joined, one))
    tables = [rows, *others]
    common = set.intersection(*(set(_judged(table)["image_id"].to_pylist()) for table in tables))
    if not common:
        uris = ", ".join((config.predictions_uri, *config.compare_uris))
        raise DatasetError(f"no image has a mask in each of {uris}; segment the same images with every segmenter")
    summaries = []
    for uri, table in zip((config.predictions_uri, *config.compare_uris), tables, strict=True):
        both = table.filter(pc.is_in(table["image_id"], value_set=pa.array(sorted(common))))
        names = {"predictions_uri": uri, "model_id": ", ".join(filter(None, pc.unique(both["model_id"]).to_pylist()))}
        summaries.append(names | {"n_images": both.num_rows} | _summary(both, config))
    return summaries


def _refuse_other_files(masks: pa.Table, uri: str, others: dict[str, pa.Table]) -> None:
    """Refuse masks of other files than those of the `others`, by URI; the dataset may not know the content."""
    for other_uri, other in others.items():
        refuse_other_content(
            other,
            masks,
            refusal=f"{uri} segmented other files than {{}} of the images of {other_uri}",
            fix="segment the same archive with every segmenter",
        )


def _judged(rows: pa.Table) -> pa.Table:
    return rows.filter(pc.is_in(rows["status"], value_set=pa.array(SEGMENTED)))


def _of_class(rows: pa.Table, config: EvaluateSegmenterConfig) -> dict[str, Any]:
    judged = _judged(rows)
    failed = pc.sum(pc.is_in(rows["status"], value_set=pa.array(["error", MISSING]))).as_py()
    counts = {"n_images": rows.num_rows, "n_judged": judged.num_rows, "n_failures": failed}
    return counts | _summary(judged, config)


def _summary(judged: pa.Table, config: EvaluateSegmenterConfig) -> dict[str, Any]:
    values = {metric: judged[metric].to_numpy() for metric in METRICS}
    return dict(summarise(values, draws=config.bootstrap_draws, seed=config.seed))
