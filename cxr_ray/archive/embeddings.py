"""Read tables of embeddings into NumPy without copying the features."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.tables import read_schema, read_table
from cxr_ray.archive.uris import exists, join_uri
from cxr_ray.errors import DatasetError
from cxr_ray.schema import EMBEDDING_COLUMN


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """Embeddings of the images that could be embedded.

    Attributes:
        vectors: float16 [N, D], a read-only view of Arrow's memory where the table is one Arrow array.
        rows: N rows of the other columns, such as `image_id`.
        column: name of the column of the vectors.
        failed: number of rows without a vector, which are errors.
    """

    vectors: np.ndarray
    rows: pa.Table
    column: str
    failed: int


def read_embeddings(uri: str, column: str | None = None) -> Embeddings:
    """Read the embeddings of a job `embed_archive` into memory, 2 bytes for each feature.

    Args:
        uri: output folder of the job, the folder of Parquet files inside it, or one file.
        column: name of the column of the vectors; None takes the only one.

    Raises:
        StorageError: if there is no such table.
        DatasetError: if the table has no column of embeddings or several, or no image has an embedding.
    """
    inner = join_uri(uri, "embeddings")
    folder = inner if not uri.endswith(".parquet") and exists(inner) else uri
    schema = read_schema(folder)
    column = column or _only_column(schema, folder)
    if column not in embedding_columns(schema):
        raise DatasetError(
            f"{folder} has no embeddings {column!r}; it has {', '.join(embedding_columns(schema)) or 'none'}"
        )
    others = [name for name in schema.names if name not in embedding_columns(schema)]
    table = read_table(folder, [*others, column])
    whole = table.filter(pc.is_valid(table[column])) if table[column].null_count else table
    if not whole.num_rows:
        raise DatasetError(f"{folder} holds no embedding: all of its {table.num_rows:,} rows are errors")
    return Embeddings(
        vectors=vectors_of(whole[column]),
        rows=whole.drop_columns([column]),
        column=column,
        failed=table.num_rows - whole.num_rows,
    )


def embedding_columns(schema: pa.Schema) -> list[str]:
    """Names of the columns of embeddings in the table of a schema."""
    return [
        field.name
        for field in schema
        if field.name.startswith(EMBEDDING_COLUMN) and pa.types.is_fixed_size_list(field.type)
    ]


def vectors_of(column: pa.FixedSizeListArray | pa.ChunkedArray) -> np.ndarray:
    """View lists of a fixed size as an array [N, D] of their type, without copying a single array or a single chunk.

    Args:
        column: the lists, none of them null; a column of a table that has several chunks is copied once.

    Raises:
        ValueError: if a list is null, because it would become a vector of no meaning.
    """
    if column.null_count:
        raise ValueError(
            f"{column.null_count} of {len(column)} embeddings are null; filter the rows with status ok first"
        )
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    size = column.type.list_size
    flat = column.values.slice(column.offset * size, len(column) * size)
    return np.asarray(flat.to_numpy(zero_copy_only=True).reshape(-1, size))


def _only_column(schema: pa.Schema, folder: str) -> str:
    found = embedding_columns(schema)
    if len(found) != 1:
        choice = f"the columns {', '.join(found)}; name one of them" if found else "no column of embeddings"
        raise DatasetError(f"{folder} has {choice}")
    return found[0]
