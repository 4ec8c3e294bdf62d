"""Read, check and split the table of images and captions of `finetune_clip.py`, and compute its fingerprint."""

import csv
import hashlib
import io
from collections.abc import Sequence

import pyarrow as pa

from cxr_ray.archive.tables import read_table
from cxr_ray.archive.uris import join_uri, one_line, parent_uri, read_bytes
from cxr_ray.errors import DatasetError
from cxr_ray.schema import SPLITS

PAIRS = pa.schema(
    [
        pa.field("image", pa.string(), nullable=False),
        pa.field("uri", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        ("label", pa.string()),
        ("split", pa.string()),
    ]
)
"""Columns of pairs: `image` as written in the table, and `uri` of that image; `label` and `split` may be null."""
OTHER_NAMES = {"image": "filename", "caption": "Caption"}
"""Other names of two columns, which public CSV tables use."""


def read_pairs(uri: str) -> pa.Table:
    """Read the pairs of the table at `uri`, in the columns of `PAIRS` and in the order of the rows.

    Args:
        uri: a CSV file in UTF-8 with a line of column names, or a Parquet file or folder. Images are URIs, absolute
            paths, or paths relative to the folder of the table. Consecutive white space in a value becomes one space.

    Raises:
        StorageError: if there is no table at `uri`, or it cannot be read.
        DatasetError: if it is empty, lacks a column, an image or a caption, or names a split that does not exist.
    """
    table = _read_csv(uri) if uri.endswith(".csv") else read_table(uri)
    if not table.num_rows:
        raise DatasetError(f"{uri} has no rows; name a table of images and captions")
    columns = {name: _strings(table, name, uri) for name in ("image", "caption", "label", "split")}
    images, captions = (_without_gaps(columns[name], name, uri) for name in ("image", "caption"))
    splits = columns["split"] or [None] * table.num_rows
    if any(splits) and (unknown := set(splits) - set(SPLITS)):
        raise DatasetError(f"{uri} names the splits {sorted(map(str, unknown))}; only {', '.join(SPLITS)} exist")
    folder = parent_uri(uri) if uri.endswith((".csv", ".parquet")) else uri
    return pa.table(
        {
            "image": images,
            "uri": [image if image.startswith("/") or "://" in image else join_uri(folder, image) for image in images],
            "caption": captions,
            "label": columns["label"] or [None] * table.num_rows,
            "split": splits,
        },
        schema=PAIRS,
    )


def _read_csv(uri: str) -> pa.Table:
    try:
        lines = list(csv.reader(io.StringIO(read_bytes(uri).decode("utf-8-sig"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{uri} is not readable as CSV in UTF-8: {error}") from error
    names, *rows = [line for line in lines if line] or [[]]
    if len(set(names)) < len(names):
        raise DatasetError(f"{uri} has two columns with the same name; rename one of {', '.join(names)}")
    for number, row in enumerate(rows, start=1):
        if len(row) != len(names):
            raise DatasetError(
                f"row {number} of {uri} has {len(row)} values for {len(names)} columns; quote its commas"
            )
    return pa.table({name: pa.array([row[i] for row in rows], pa.string()) for i, name in enumerate(names)})


def _strings(table: pa.Table, name: str, uri: str) -> list[str | None] | None:
    """Values of a column, each on one line, or None if it is blank; None instead of a list if the column is missing."""
    other = OTHER_NAMES.get(name, name)
    found = next((candidate for candidate in (name, other) if candidate in table.column_names), None)
    if found is None:
        return None
    try:
        values = table[found].cast(pa.string()).to_pylist()
    except pa.ArrowException as error:
        raise DatasetError(f"column {found} of {uri} holds no text: {one_line(error)}; write it as text") from error
    return [" ".join((value or "").split()) or None for value in values]


def _without_gaps(values: list[str | None] | None, name: str, uri: str) -> list[str]:
    if values is None:
        raise DatasetError(
            f"{uri} has no column {name} (or {OTHER_NAMES[name]}); add it, since images and captions are needed"
        )
    if None in values:
        raise DatasetError(f"row {values.index(None) + 1} of {uri} has no {name}; fill it or drop the row")
    return [value for value in values if value is not None]


def split_by_content(contents: Sequence[str], val_fraction: float) -> list[str]:
    """Assign every image to `train` or `val` by its content only, so that equal images have the same split.

    Args:
        contents: SHA-256 of each image, in hexadecimal digits.
        val_fraction: fraction of the images that become `val`, 0 to 1.
    """
    return ["val" if int(content[:15], 16) < val_fraction * 16**15 else "train" for content in contents]


def pairs_fingerprint(pairs: pa.Table, images: Sequence[str]) -> str:
    """Fingerprint of pairs: 16 hex digits that depend only on the caption, label, split and image of every pair.

    Args:
        pairs: a table with the columns of `PAIRS`.
        images: identity of the image of each pair: its name, or the hash of its content.
    """
    columns = (pairs[name].to_pylist() for name in ("caption", "label", "split"))
    lines = sorted("\x1f".join(map(str, row)) for row in zip(images, *columns, strict=True))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
