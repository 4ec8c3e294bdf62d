"""Count the images of an evaluation that were scored, failed or have no prediction."""

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.config.evaluation import EvaluateClassifierConfig
from cxr_ray.errors import DatasetError


def require_scored(rows: pa.Table, config: EvaluateClassifierConfig) -> None:
    """Raise a DatasetError that names the predictions and the dataset unless at least one image was scored."""
    if pc.any(pc.equal(rows["status"], "ok")).as_py():
        return
    images = f"the {rows.num_rows:,} images of split {config.split!r} of {config.dataset_uri}"
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in count_errors(rows).items())
    if kinds:
        raise DatasetError(f"{config.predictions_uri} scored none of {images}; fix the errors: {kinds}")
    raise DatasetError(
        f"{config.predictions_uri} holds no prediction for {images}; run classify_archive.py on the archive of the dataset"
    )


def count_errors(rows: pa.Table) -> dict[str, int]:
    """Count the rows with status `error` by kind of error, the most frequent kind first."""
    kinds = rows.filter(pc.equal(rows["status"], "error"))["error_kind"].value_counts().to_pylist()
    ordered = sorted(kinds, key=lambda kind: (-kind["counts"], kind["values"] or ""))
    return {kind["values"] or "unknown": kind["counts"] for kind in ordered}
