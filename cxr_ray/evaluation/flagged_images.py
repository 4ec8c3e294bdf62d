"""Leave images out of an evaluation by the flags of their quality."""

from collections.abc import Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.config.quality import QC_FLAGS
from cxr_ray.errors import DatasetError
from cxr_ray.evaluation.predictions import read_columns

FLAGS = "qc_flags"


class Unflagged(NamedTuple):
    """Images without the excluded flags, and what was left out."""

    images: pa.Table
    excluded: dict[str, int]
    """Number of images that were left out for each flag; an image with two of them counts for both."""
    n_excluded: int
    """Number of images that were left out."""


def without_flagged(images: pa.Table, rows_uri: str, excluded: Sequence[str], *, split: str = "all") -> Unflagged:
    """Leave out the images whose row has one of the excluded flags; an image without a row stays.

    Args:
        images: rows of `schema.DATASET`.
        rows_uri: folder of the rows of a scoring job.
        excluded: names of `config.quality.QC_FLAGS`; an empty sequence leaves nothing out.
        split: split whose images are counted; images of every split are left out.

    Raises:
        DatasetError: if the rows have no flags, because an earlier version or another program wrote them.
    """
    if not excluded:
        return Unflagged(images, {}, 0)
    rows = read_columns(rows_uri, [FLAGS])
    if FLAGS not in rows.column_names:
        raise DatasetError(f"{rows_uri} has no column {FLAGS}, which exclude_flags needs; score the images again")
    known = rows.filter(pc.is_in(rows["image_id"], value_set=pc.unique(images["image_id"])))
    flags_of = dict(zip(known["image_id"].to_pylist(), known[FLAGS].to_pylist(), strict=True))
    refused = [set(flags_of.get(image_id) or ()) & set(excluded) for image_id in images["image_id"].to_pylist()]
    counted = [found for found, of in zip(refused, images["split"].to_pylist(), strict=True) if split in ("all", of)]
    counts = {flag: sum(flag in found for found in counted) for flag in QC_FLAGS if flag in excluded}
    kept = images.filter(pa.array([not found for found in refused], pa.bool_()))
    return Unflagged(kept, counts, sum(map(bool, counted)))


def excluded_line(excluded: dict[str, int], n_excluded: int) -> str:
    """Say how many images were left out by their flags; empty if no flag excludes any."""
    if not excluded:
        return ""
    flags = ", ".join(f"{flag}: {count:,}" for flag, count in excluded.items())
    return f"Images excluded by their quality flags: {n_excluded:,} ({flags})"
