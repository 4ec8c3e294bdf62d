"""Tables of embeddings are read without a copy, and by the programs that the guide shows."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cxr_ray.archive.embeddings import embedding_columns, read_embeddings, vectors_of
from cxr_ray.errors import DatasetError, StorageError
from cxr_ray.schema import embeddings_schema

REPOSITORY = Path(__file__).parents[2]
GUIDE = (REPOSITORY / "jobs/README.md").read_text(encoding="utf-8")
SECTION = re.search(r"^## embed_archive\.py$(.*?)^## ", GUIDE, re.DOTALL | re.MULTILINE)[1]
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
SIZE = 8
VECTORS = np.random.default_rng(0).normal(size=(6, SIZE)).astype(np.float16)


def table_of(vectors, *, failed=(), sizes=(SIZE,), prefixes=()):
    """Rows with vectors float16 [N, D] for each encoder; those at the positions `failed` are errors."""
    made = {"model_id": "m", "preprocessing_id": "p", "run_id": "r", "scored_at": datetime(2026, 1, 1, tzinfo=UTC)}
    schema = embeddings_schema(sizes, prefixes)
    rows = [
        {"image_id": f"{i}.png", "uri": f"archive/{i}.png", "status": "ok", "layer": "pooled", **made}
        | {name: list(vector) for name in embedding_columns(schema)}
        for i, vector in enumerate(vectors)
    ]
    for place in failed:
        rows[place] |= dict.fromkeys(embedding_columns(schema)) | {"status": "error", "error_kind": "empty"}
    return pa.Table.from_pylist(rows, schema=schema)


def test_vectors_are_a_view_of_the_memory_of_arrow():
    array = pa.FixedSizeListArray.from_arrays(pa.array(VECTORS.ravel()), SIZE)
    address = array.values.buffers()[1].address
    for lists, first in ((array, 0), (pa.chunked_array([array]), 0), (array.slice(2, 3), 2)):
        found = vectors_of(lists)
        assert found.__array_interface__["data"][0] == address + first * SIZE * 2
        np.testing.assert_array_equal(found, VECTORS[first : first + len(lists)])
    several = vectors_of(pa.chunked_array([array, array.slice(4)]))
    np.testing.assert_array_equal(several, np.concatenate([VECTORS, VECTORS[4:]]))


def test_a_list_that_is_null_is_refused():
    with pytest.raises(ValueError, match="1 of 2 embeddings are null; filter the rows with status ok first"):
        vectors_of(pa.array([[1.0, 2.0], None], pa.list_(pa.float16(), 2)))


def test_only_rows_with_an_embedding_are_read_and_the_others_counted(tmp_path):
    for part, places in enumerate((slice(0, 4), slice(4, 6))):
        (tmp_path / "out/embeddings").mkdir(parents=True, exist_ok=True)
        pq.write_table(table_of(VECTORS, failed=(1,))[places], tmp_path / f"out/embeddings/{part}.parquet")
    for uri in (tmp_path / "out", tmp_path / "out/embeddings"):
        found = read_embeddings(str(uri))
        assert found.rows["image_id"].to_pylist() == ["0.png", "2.png", "3.png", "4.png", "5.png"]
        assert found.failed == 1
        np.testing.assert_array_equal(found.vectors, np.delete(VECTORS, 1, axis=0))
        assert "embedding" not in found.rows.column_names


def test_one_of_several_encoders_is_named(tmp_path):
    pq.write_table(table_of(VECTORS, sizes=(SIZE, SIZE), prefixes=("a_", "b_")), tmp_path / "e.parquet")
    with pytest.raises(DatasetError, match=r"e\.parquet has the columns embedding_a, embedding_b; name one of them"):
        read_embeddings(str(tmp_path / "e.parquet"))
    with pytest.raises(DatasetError, match="has no embeddings 'embedding_c'; it has embedding_a, embedding_b"):
        read_embeddings(str(tmp_path / "e.parquet"), "embedding_c")
    found = read_embeddings(str(tmp_path / "e.parquet"), "embedding_b")
    assert "embedding_a" not in found.rows.column_names
    assert found.column == "embedding_b"


def test_tables_without_embeddings_are_refused(tmp_path):
    pq.write_table(pa.table({"image_id": ["a"]}), tmp_path / "p.parquet")
    with pytest.raises(DatasetError, match=r"p\.parquet has no column of embeddings"):
        read_embeddings(str(tmp_path / "p.parquet"))
    pq.write_table(table_of(VECTORS, failed=range(6)), tmp_path / "e.parquet")
    with pytest.raises(DatasetError, match="holds no embedding: all of its 6 rows are errors"):
        read_embeddings(str(tmp_path / "e.parquet"))
    with pytest.raises(StorageError, match="no table at"):
        read_embeddings(str(tmp_path / "none"))


def test_the_guide_has_an_example_for_each_program():
    programs = ("read_embeddings", "vectors_of", "duckdb", "polars", "lance")
    assert [[name for name in programs if name in example] for example in EXAMPLES] != []
    assert all(any(name in example for example in EXAMPLES) for name in programs)


@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_of_the_guide_runs_as_it_stands(example, tmp_path):
    """The nearest neighbour of each example's query image is the image next to it."""
    for program in ("polars", "lance"):
        if program in example:
            pytest.importorskip(program, reason=f"{program} is not installed")
    turned = np.stack([np.cos(np.arange(6) ** 1.5 / 4), np.sin(np.arange(6) ** 1.5 / 4)], axis=1)
    (tmp_path / "embedded/embeddings").mkdir(parents=True)
    table = table_of(np.pad(turned, ((0, 0), (0, 6))).astype(np.float16), failed=(5,))
    pq.write_table(table, tmp_path / "embedded/embeddings/0.parquet")
    line, path = [sys.executable, "-c", example], {"PYTHONPATH": str(REPOSITORY)}
    ended = subprocess.run(
        line, cwd=tmp_path, env=os.environ | path, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "1.png" in ended.stdout
    assert "5.png" not in ended.stdout
