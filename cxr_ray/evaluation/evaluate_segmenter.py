"""Evaluate the masks of a segmenter against true masks: metrics, a sheet of contours, a table of rows and an HTML report."""

import json
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.datasets import read_dataset, refuse_duplicates
from cxr_ray.archive.job_outputs import require_other_place
from cxr_ray.archive.masks_table import SKIPPED, masks_folder, read_masks
from cxr_ray.archive.run_record import write_run_record
from cxr_ray.archive.same_content import CONTENT, refuse_other_content
from cxr_ray.archive.tables import write_table
from cxr_ray.archive.uris import join_uri, write_bytes
from cxr_ray.config.segmentation_evaluation import EvaluateSegmenterConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.evaluate_classifier import count_errors
from cxr_ray.evaluation.flagged_images import without_flagged
from cxr_ray.evaluation.mask_judgement import SEGMENTED, judge
from cxr_ray.evaluation.provenance import describe
from cxr_ray.evaluation.scored_arrays import with_patients
from cxr_ray.evaluation.second_reader import SECOND_URI, with_second_masks
from cxr_ray.evaluation.segmentation_measures import measure, of_readers, of_segmenters
from cxr_ray.evaluation.segmentation_sheet import Panel, draw_panels, segmentation_report_html, sheet_png
from cxr_ray.evaluation.segmentation_text import report_text
from cxr_ray.evaluation.truth_join import MISSING
from cxr_ray.schema import DATASET


def evaluate_segmenter(config: EvaluateSegmenterConfig) -> dict[str, Any]:
    """Evaluate masks, and write metrics.json, report.txt, report.html, segmentations.png and rows.parquet.

    The files go to the folder `config.output_uri`; the text of report.txt and the URI of report.html are printed.

    Returns:
        The content of metrics.json.

    Raises:
        DatasetError: if a table contains an image twice, a row with status `ok` has no mask, a mask is of another file than
            the dataset's image, no image of the split has both a true and a predicted mask, or the masks of a second reader
            belong to none of them.
        ConfigError: if the output is the folder of the masks.
        StorageError: if a table cannot be read, a predicted mask cannot be decoded, or the output cannot be written.
    """
    inputs = {name: getattr(config, name) for name in ("predictions_uri", "dataset_uri", "second_masks_uri")}
    require_other_place(config.output_uri, **{name: uri for name, uri in inputs.items() if uri})
    dataset = read_dataset(config.dataset_uri)
    refuse_duplicates(dataset, config.dataset_uri, "prepare the dataset again")
    of_split = dataset if config.split == "all" else dataset.filter(pc.equal(dataset["split"], config.split))
    usable = without_flagged(of_split, masks_folder(config.predictions_uri), config.exclude_flags)
    with_truth = usable.images.filter(pc.is_valid(usable.images["mask_uri"]))
    if config.second_masks_uri:
        with_truth = with_second_masks(with_truth, config.second_masks_uri)
    masks = read_masks(config.predictions_uri, with_truth)
    images = without_skipped(with_truth, masks)
    joined = join_masks(images, masks)
    require_segmented(joined, config)
    rows, unknown_patients = with_patients(judge(joined, config), images, masks)

    metrics = measure(rows, config) | {"n_without_truth": usable.images.num_rows - with_truth.num_rows}
    metrics |= {"excluded_by_flag": usable.excluded, "n_excluded_by_flag": usable.n_excluded}
    metrics["n_skipped"] = with_truth.num_rows - images.num_rows
    metrics["n_without_patient"] = unknown_patients
    metrics["readers"] = of_readers(rows, images, config)
    metrics["provenance"] = describe(rows, dataset, config)
    metrics["comparison"] = compare(images, masks, rows, config)
    panels = draw_panels(joined, rows, filled=config.fill_holes)
    write_evaluation(rows, metrics, panels, config)
    return metrics


def write_evaluation(
    rows: pa.Table, metrics: dict[str, Any], panels: list[Panel], config: EvaluateSegmenterConfig
) -> None:
    """Write the files of the evaluation, and print the text of report.txt and the URI of report.html."""
    report = report_text(metrics)
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
    wanted = ["image_id", "uri", "label", "mask_uri", SECOND_URI]
    truth = images.select([name for name in wanted if name in images.column_names])
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


def compare(images: pa.Table, masks: pa.Table, rows: pa.Table, config: EvaluateSegmenterConfig) -> list[dict[str, Any]]:
    """Summarise this segmenter and each one in `config.compare_uris` over the images for which all of them have a mask.

    Args:
        images: rows of `schema.DATASET` with a `mask_uri`.
        masks: rows of `read_masks` of this segmenter.
        rows: rows from `judge` for this segmenter, with the column `PATIENT`.
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
    images = images.select(DATASET.names)  # segmenters are compared with the dataset's masks only
    others, contents = [], {config.predictions_uri: masks}
    for uri in config.compare_uris:
        one = replace(config, predictions_uri=uri, compare_uris=(), lungs=False)
        found = read_masks(uri, images)
        _refuse_other_files(found, uri, contents)
        contents[uri] = found.select(["image_id", "status", CONTENT])
        joined = join_masks(images, found)
        require_segmented(joined, one)
        others.append(with_patients(judge(joined, one), images, masks)[0])
    return of_segmenters((config.predictions_uri, *config.compare_uris), [rows, *others])


def _refuse_other_files(masks: pa.Table, uri: str, others: dict[str, pa.Table]) -> None:
    """Refuse masks of other files than those of the `others`, by URI; the dataset may not know the content."""
    for other_uri, other in others.items():
        refuse_other_content(
            other,
            masks,
            refusal=f"{uri} segmented other files than {{}} of the images of {other_uri}",
            fix="segment the same archive with every segmenter",
        )
