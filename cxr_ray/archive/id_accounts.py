"""Count the ids of tables that may be larger than memory, with DuckDB, which goes on with its work on disk."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.uris import one_line
from cxr_ray.errors import StorageError

MEMORY = "400MB"
"""Memory that DuckDB may take for its tables; it takes disk space for the rest."""
IDS_AT_ONCE = 15_000_000
"""Number of ids that DuckDB groups or joins in `MEMORY`; more are divided into parts on disk first."""
_IDS = pa.schema([("image_id", pa.string()), ("place", pa.int64())])
_CONTENTS = pa.schema([("image_id", pa.string()), ("content", pa.string())])

_BOTH = "(SELECT image_id, place FROM named UNION ALL SELECT image_id, NULL FROM found)"
_DIFFERING = """
    SELECT image_id, min(place) AS place, count(place) AS named, count(*) - count(place) AS found
    FROM {ids} GROUP BY image_id HAVING named <> 1 OR found <> 1
"""
# a number of 64 bits stands for the content, because it takes an eighth of the memory
_OTHER_CONTENT = """
    SELECT DISTINCT image_id
    FROM {named} AS named JOIN {found} AS found USING (image_id) WHERE named.content <> found.content
"""
_CONTENT = "(SELECT image_id, hash(lower(content)) AS content FROM {} WHERE content IS NOT NULL)"
_REPEATED = "SELECT image_id FROM {ids} GROUP BY image_id HAVING count(*) > 1"
_DIVIDED = "CREATE TABLE {}_by_part AS SELECT *, CAST(hash(image_id) % {} AS UTINYINT) AS part FROM {}"
_PART = "(SELECT * FROM {}_by_part WHERE part = {})"


def differing_ids(
    named: Iterable[pa.Array], found: Iterable[pa.Array], *, expected: int = 0
) -> Iterator[pa.RecordBatch]:
    """Yield every id that does not occur exactly once in `named` and once in `found`, in any order.

    Args:
        named: arrays of strings: the ids that should occur, such as those of a manifest.
        found: arrays of strings: the ids that do occur, such as those of rows.
        expected: about how many ids a table has, which decides in how many parts they are counted.

    Yields:
        Batches with the columns `image_id`; `place`, the number of ids in `named` before its first occurrence, null if
        it is not there; `named` and `found`, how often it occurs in each.

    Raises:
        StorageError: if there is no space on disk; an exception of the arrays passes unchanged.
    """
    with _database(_IDS, named=_numbered(named), found=_numbered(found)) as database:
        yield from _answers(database, _DIFFERING, expected, ids=_BOTH)


def ids_of_other_content(
    named: Iterable[tuple[pa.Array, pa.Array]], found: Iterable[tuple[pa.Array, pa.Array]], *, expected: int = 0
) -> Iterator[pa.Array]:
    """Yield every id whose content differs between two tables, in any order; it raises what `differing_ids` raises.

    Args:
        named: arrays of ids and of the SHA-256 of their content in hexadecimal digits; a null is not compared.
        found: the same of the other table.
        expected: about how many ids a table has, as in `differing_ids`.
    """
    with _database(_CONTENTS, named=_paired(named), found=_paired(found)) as database:
        sources = {name: _CONTENT.format(name) for name in ("named", "found")}
        for batch in _answers(database, _OTHER_CONTENT, expected, **sources):
            yield batch["image_id"]


def repeated_ids(ids: Iterable[pa.Array], *, expected: int = 0) -> list[str]:
    """Return every id that occurs more than once, sorted; it takes and raises what `differing_ids` does."""
    with _database(_IDS, ids=_numbered(ids)) as database:
        return sorted(
            i for batch in _answers(database, _REPEATED, expected, ids="ids") for i in batch["image_id"].to_pylist()
        )


def is_increasing(ids: Iterable[pa.Array]) -> bool:
    """Whether every id is greater than the one before it, in the order of their bytes: then none occurs twice."""
    last = pa.array([], pa.large_string())
    for array in ids:
        joined = pa.concat_arrays([last, array.cast(pa.large_string())])
        if not pc.all(pc.less(joined[:-1], joined[1:]), min_count=0).as_py():
            return False
        last = joined[-1:]
    return True


@contextmanager
def _database(schema: pa.Schema, **tables: Iterator[pa.RecordBatch]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database whose tables are streams that can be read once; its files on disk go when it is closed."""
    failures: list[Exception] = []
    with tempfile.TemporaryDirectory(prefix="cxr_ray_ids_") as folder:
        config: dict[str, str | bool | int | float | list[str]] = {
            "memory_limit": MEMORY,
            "threads": min(4, os.cpu_count() or 1),
            "temp_directory": folder,
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
        }
        try:
            with duckdb.connect(f"{folder}/ids.duckdb", config=config) as database:
                for name, batches in tables.items():
                    database.register(name, pa.RecordBatchReader.from_batches(schema, _noted(batches, failures)))
                yield database
        except (duckdb.Error, pa.ArrowException) as error:
            if failures:
                raise failures[0] from None
            fix = (
                "free memory on this machine"
                if "memory" in str(error).lower()
                else "set TMPDIR to a folder with more space"
            )
            raise StorageError(f"ids cannot be counted in {folder}: {one_line(error)}; {fix}") from error


def _answers(
    database: duckdb.DuckDBPyConnection, query: str, expected: int, **sources: str
) -> Iterator[pa.RecordBatch]:
    """Yield the answers to a query that treats every id by itself, for one part of the ids after another.

    Args:
        database: a database that `_database` opened.
        query: a query with places for `sources`.
        expected: about how many ids a source has.
        sources: tables or queries in parentheses, each with a column `image_id`.
    """
    parts = min(255, 1 + expected // IDS_AT_ONCE)
    if parts == 1:
        yield from database.sql(query.format(**sources)).to_arrow_reader()
        return
    for name, source in sources.items():
        database.execute(_DIVIDED.format(name, parts, source))
    for part in range(parts):
        yield from database.sql(query.format(**{name: _PART.format(name, part) for name in sources})).to_arrow_reader()


def _noted(batches: Iterator[pa.RecordBatch], failures: list[Exception]) -> Iterator[pa.RecordBatch]:
    """Yield batches; an exception of theirs is kept, because DuckDB keeps only its text."""
    try:
        yield from batches
    except Exception as error:
        failures.append(error)
        raise


def _numbered(ids: Iterable[pa.Array]) -> Iterator[pa.RecordBatch]:
    place = 0
    for array in ids:
        places = pa.array(np.arange(place, place + len(array)))
        yield pa.record_batch([array.cast(pa.string()), places], schema=_IDS)
        place += len(array)


def _paired(contents: Iterable[tuple[pa.Array, pa.Array]]) -> Iterator[pa.RecordBatch]:
    for columns in contents:
        yield pa.record_batch([column.cast(pa.string()) for column in columns], schema=_CONTENTS)
