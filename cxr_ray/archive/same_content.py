"""Compare the content of images that two tables name alike, so that a result of one file is not taken for another's."""

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.errors import DatasetError

CONTENT = "content_sha256"
"""Optional column of any table of images: the SHA-256 of the file, in hexadecimal digits."""
WITH_RESULT = ("ok", "empty")
"""Statuses of a row that holds a result; other rows may be of a file that was broken then and is whole now."""


def refuse_other_content(images: pa.Table, rows: pa.Table, *, refusal: str, fix: str) -> None:
    """Refuse rows of files that were replaced since, or that belong to another archive with equal names.

    Only images are compared whose content both tables know, and only rows with a result where there is a `status`.

    Args:
        images: a table with the columns `image_id` and `CONTENT`.
        rows: a table with these columns, and optionally `status`.
        refusal: start of the error, such as "m segmented other files than {} of the dataset's images".
        fix: what the user should do, for the error.

    Raises:
        DatasetError: if the content of an image differs.
    """
    both = _known(images, "content").join(_known(rows, "other"), keys="image_id", join_type="inner")
    others = both.filter(pc.not_equal(both["content"], both["other"])).sort_by("image_id")
    if others.num_rows:
        raise DatasetError(
            f"{refusal.format(f'{others.num_rows:,}')}, first {others['image_id'][0].as_py()!r}"
            f" ({CONTENT} was compared of {both.num_rows:,}); {fix}"
        )


def _known(table: pa.Table, name: str) -> pa.Table:
    """Select `image_id` and the content, as `name`, of the rows of a table that know it."""
    if "status" in table.column_names:
        table = table.filter(pc.is_in(table["status"], value_set=pa.array(WITH_RESULT)))
    content = pc.utf8_lower(table[CONTENT].cast(pa.string()))
    known = pa.table({"image_id": table["image_id"].cast(pa.string()), name: content})
    return known.filter(pc.is_valid(known[name]))
