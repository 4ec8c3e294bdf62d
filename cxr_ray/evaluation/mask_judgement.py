"""Compare the predicted mask of every image with its true mask, and with that of a second reader: a row per image."""

import logging
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.config.segmentation_evaluation import EvaluateSegmenterConfig
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.image_spacing import read_spacings
from cxr_ray.evaluation.lung_masks import divide_lungs
from cxr_ray.evaluation.second_reader import SECOND_URI
from cxr_ray.evaluation.true_masks import load_pictures, masks_of, resized
from cxr_ray.imaging.decode import DecodedImage
from cxr_ray.imaging.mask_components import fill_holes
from cxr_ray.imaging.mask_picture import mask_of_picture
from cxr_ray.imaging.pixel_spacing import PixelSpacing
from cxr_ray.metrics.segmentation import METRICS, MM_METRICS, Mask, MaskAgreement, mask_agreement
from cxr_ray.schema import PROVENANCE_FIELDS

SEGMENTED = ("ok", "empty")  # statuses of an image that has a mask, with pixels or without
TRUTH_UNREADABLE = "truth_unreadable"  # status of an image whose true mask cannot be read
FIGURES = (*METRICS, *MM_METRICS)
"""Columns of the agreement of two masks; those in mm are null where the pixel spacing is unknown."""
SIDES = ("right", "left")
READERS = ("second", "readers")
"""Prefixes of figures: the prediction compared with the second reader, and the second reader with the first."""
GIVEN = "given"
"""Source of a pixel spacing that is an option of the job."""
ROWS_AT_ONCE = 1024  # converted from Arrow together; the log has one line for each such chunk
log = logging.getLogger("cxr_ray")


def judgement_schema(*, lungs: bool, second_reader: bool) -> pa.Schema:
    """Columns that `judge` adds: those of each lung have a prefix of `SIDES`, those of a second reader one of `READERS`."""
    prefixes = [f"{side}_" for side in SIDES if lungs] + [f"{one}_" for one in READERS if second_reader]
    return pa.schema(
        [
            ("status", pa.string()),
            ("error_kind", pa.string()),
            *((figure, pa.float64()) for figure in FIGURES),
            ("uncertainty", pa.float64()),
            ("predicted_area_fraction", pa.float64()),
            ("true_area_fraction", pa.float64()),
            ("filled_area_fraction", pa.float64()),
            ("row_spacing_mm", pa.float64()),
            ("column_spacing_mm", pa.float64()),
            ("spacing_source", pa.string()),
            *((f"{side}_missing", pa.bool_()) for side in SIDES if lungs),
            *([("second_error_kind", pa.string())] if second_reader else []),
            *((prefix + figure, pa.float64()) for prefix in prefixes for figure in FIGURES),
        ]
    )


def judge(joined: pa.Table, config: EvaluateSegmenterConfig) -> pa.Table:
    """Compare every predicted mask with its true mask.

    Args:
        joined: rows from `join_masks`, at least one of them segmented; with the column `SECOND_URI`, the masks of a second
            reader are compared, too.
        config: tolerances, pixel spacing and whether lungs are divided; its dataset is named in errors.

    Returns:
        `image_id, uri, label`, the columns of `judgement_schema` and the provenance of the mask, one row for each row of
        `joined`. Metrics are null where no masks were compared.

    Raises:
        DatasetError: if the true mask of no image can be read.
        StorageError: if a predicted mask cannot be decoded.
    """
    segmented = joined.filter(pc.is_in(joined["status"], value_set=pa.array(SEGMENTED)))
    has_second = SECOND_URI in joined.column_names
    truths = load_pictures(segmented["mask_uri"].to_pylist())
    seconds = load_pictures(list(filter(None, segmented[SECOND_URI].to_pylist()))) if has_second else iter(())
    spacings = iter(read_spacings(segmented["uri"].to_pylist(), segmented["format"].to_pylist()))
    judgements: list[dict[str, Any]] = []
    for start in range(0, joined.num_rows, ROWS_AT_ONCE):
        for row in joined.slice(start, ROWS_AT_ONCE).to_pylist():
            if row["status"] not in SEGMENTED:
                judgements.append({"status": row["status"], "error_kind": row["error_kind"]})
                continue
            second = next(seconds) if row.get(SECOND_URI) else None
            judgements.append(_judgement(row, next(truths), second, next(spacings), config))
        log.info("judged %d of %d images", len(judgements), joined.num_rows)
    if not any(judgement["status"] in SEGMENTED for judgement in judgements):
        kind = next(one["error_kind"] for one in judgements if one["status"] == TRUTH_UNREADABLE)
        raise DatasetError(f"no true mask of {config.dataset_uri} can be read ({kind}); prepare the dataset again")
    judged = pa.Table.from_pylist(judgements, judgement_schema(lungs=config.lungs, second_reader=has_second))
    kept = joined.select(["image_id", "uri", "label", *(field.name for field in PROVENANCE_FIELDS)])
    for position, name in enumerate(judged.column_names, start=3):
        kept = kept.add_column(position, name, judged[name])
    return kept


def _judgement(
    row: dict[str, Any],
    truth: DecodedImage,
    second: DecodedImage | None,
    spacing: PixelSpacing | None,
    config: EvaluateSegmenterConfig,
) -> dict[str, Any]:
    """Compute the columns of `judgement_schema` for an image that was segmented; `second` is the second reader's mask."""
    if truth.pixels is None:
        return {"status": TRUTH_UNREADABLE, "error_kind": truth.error_kind}
    predicted, true = masks_of(row, truth)
    whole = fill_holes(predicted) if config.fill_holes else predicted
    in_mm, source = _spacing_at(true, spacing, config)

    def agreement(one: Mask, other: Mask) -> MaskAgreement:
        return mask_agreement(one, other, tolerance=config.tolerance, spacing=in_mm, tolerance_mm=config.tolerance_mm)

    found = agreement(whole, true)
    judgement = {
        "status": row["status"],
        **_figures(found),
        "uncertainty": row["uncertainty"],
        "predicted_area_fraction": found.predicted_area / true.size,
        "true_area_fraction": found.true_area / true.size,
        "filled_area_fraction": int((whole & ~predicted).sum()) / true.size,
        "row_spacing_mm": in_mm and in_mm[0],
        "column_spacing_mm": in_mm and in_mm[1],
        "spacing_source": source,
    }
    for side, lung in ((config.lungs and divide_lungs(whole, true)) or {}).items():
        judgement |= _figures(agreement(*lung), f"{side}_") | {f"{side}_missing": not lung.predicted.any()}
    if second is not None and second.pixels is None:
        judgement["second_error_kind"] = second.error_kind
    elif second is not None:
        other = resized(mask_of_picture(second), *true.shape)
        judgement |= _figures(agreement(whole, other), "second_") | _figures(agreement(other, true), "readers_")
    return judgement


def _spacing_at(
    mask: Mask, spacing: PixelSpacing | None, config: EvaluateSegmenterConfig
) -> tuple[tuple[float, float] | None, str | None]:
    """Spacing in mm of the pixels of a mask, and its source: the file of the image, or else the option of the job."""
    if spacing is not None:
        height, width = mask.shape
        return spacing.at_size(height, width), spacing.source
    given = config.pixel_spacing_mm
    return (None, None) if given is None else ((given, given), GIVEN)


def _figures(agreement: MaskAgreement, prefix: str = "") -> dict[str, float | None]:
    return {prefix + name: getattr(agreement, name) for name in FIGURES}
