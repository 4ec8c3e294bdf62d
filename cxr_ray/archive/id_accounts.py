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
_IDS = pa.schema([("image_id", pa.string()), ("place", pa.int64())])

_DIFFERING = """
    SELECT image_id, min(place) AS place, count(place) AS named, count(*) - count(place) AS found
    FROM (SELECT image_id, place FROM named UNION ALL SELECT image_id, NULL FROM found)
    GROUP BY image_id HAVING named <> 1 OR found <> 1
"""
_REPEATED = "SELECT image_id FROM found GROUP BY image_id HAVING count(*) > 1"


def differing_ids(named: Iterable[pa.Array], found: Iterable[pa.Array]) -> Iterator[pa.RecordBatch]:
    """Yield every id that does not occur exactly once in `named` and once in `found`, in any order.

    Args:
        named: arrays of strings: the ids that should occur, such as those of a manifest.
        found: arrays of strings: the ids that do occur, such as those of rows.

    Yields:
        Batches with the columns `image_id`; `place`, the number of ids in `named` before its first occurrence, null if
        it is not there; `named` and `found`, how often it occurs in each.

    Raises:
        StorageError: if there is no space on disk; an exception of the arrays passes unchanged.
    """
    with _database(named=named, found=found) as database:
        yield from database.sql(_DIFFERING).to_arrow_reader()


def repeated_ids(ids: Iterable[pa.Array]) -> list[str]:
    """Return every id that occurs more than once, sorted; it raises what `differing_ids` raises."""
    with _database(found=ids) as database:
        return sorted(row[0] for row in database.sql(_REPEATED).fetchall())


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
def _database(**tables: Iterable[pa.Array]) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database whose tables are streams of ids that can be read once; its files on disk go when it is closed."""
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
            with duckdb.connect(config=config) as database:
                for name, ids in tables.items():
                    database.register(name, pa.RecordBatchReader.from_batches(_IDS, _batches(ids, failures)))
                yield database
        except (duckdb.Error, pa.ArrowException) as error:
            if failures:
                raise failures[0] from None
            raise StorageError(
                f"ids cannot be counted in {folder}: {one_line(error)}; set TMPDIR to a folder with more space"
            ) from error


def _batches(ids: Iterable[pa.Array], failures: list[Exception]) -> Iterator[pa.RecordBatch]:
    """Number the ids; an exception of theirs is kept, because DuckDB keeps only its text."""
    place = 0
    try:
        for array in ids:
            places = pa.array(np.arange(place, place + len(array)))
            yield pa.record_batch([array.cast(pa.string()), places], schema=_IDS)
            place += len(array)
    except Exception as error:
        failures.append(error)
        raise
