from collections import Counter

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_ray.archive.id_accounts import IDS_AT_ONCE, differing_ids, ids_of_other_content, is_increasing, repeated_ids
from cxr_ray.errors import StorageError

IDS = st.lists(
    st.lists(st.sampled_from(["a", "b", "b/1", "é", "", "z" * 70]) | st.text(max_size=3), max_size=6), max_size=4
)
EXPECTED = st.sampled_from([0, 3 * IDS_AT_ONCE])


def arrays(batches, kind=None):
    return [pa.array(ids, kind or pa.string()) for ids in batches]


def flat(batches):
    return [image_id for ids in batches for image_id in ids]


@settings(max_examples=60, deadline=None)
@given(named=IDS, found=IDS, expected=EXPECTED)
def test_every_id_is_accounted_for_in_one_part_or_in_several(named, found, expected):
    accounts = differing_ids(arrays(named), arrays(found), expected=expected)
    rows = [row for batch in accounts for row in batch.to_pylist()]
    wanted, there = Counter(flat(named)), Counter(flat(found))
    assert {row["image_id"]: (row["named"], row["found"]) for row in rows} == {
        i: (wanted[i], there[i]) for i in wanted | there if (wanted[i], there[i]) != (1, 1)
    }
    places = {image_id: place for place, image_id in reversed(list(enumerate(flat(named))))}
    assert all(row["place"] == places.get(row["image_id"]) for row in rows)
    assert len({row["image_id"] for row in rows}) == len(rows)


@settings(max_examples=60, deadline=None)
@given(ids=IDS, expected=EXPECTED)
def test_ids_that_occur_twice_are_found_and_ids_in_order_are_known_to_occur_once(ids, expected):
    repeated = [i for i, count in Counter(flat(ids)).items() if count > 1]
    assert repeated_ids(arrays(ids), expected=expected) == sorted(repeated)
    in_order = sorted(set(flat(ids)), key=str.encode)
    assert is_increasing(arrays([in_order[:2], [], in_order[2:]]))
    assert is_increasing(arrays(ids)) == (flat(ids) == in_order)


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
def test_strings_of_any_arrow_type(kind):
    named = [pa.array(["a", "b", "c", "c"]).cast(kind)]
    assert repeated_ids(named) == ["c"]
    assert [row["image_id"] for batch in differing_ids(named, [pa.array(["a", "b"])]) for row in batch.to_pylist()] == [
        "c"
    ]
    assert not is_increasing(named)


@settings(max_examples=60, deadline=None)
@given(
    named=st.dictionaries(st.text(max_size=2), st.sampled_from(["ab", "AB", "cd", None]), max_size=8),
    found=st.lists(st.tuples(st.text(max_size=2), st.sampled_from(["ab", "AB", "cd", None])), max_size=8),
    expected=EXPECTED,
)
def test_ids_of_other_content_are_found(named, found, expected):
    def columns(pairs):
        ids, contents = zip(*pairs, strict=True) if pairs else ((), ())
        return pa.array(ids, pa.string()), pa.array(contents, pa.string())

    others = {i for i, content in found if content and named.get(i) and content.lower() != named[i].lower()}
    streams = ([columns(list(named.items()))], [columns(found[:3]), columns(found[3:])])
    assert sorted(i for ids in ids_of_other_content(*streams, expected=expected) for i in ids.to_pylist()) == sorted(
        others
    )


def test_more_ids_than_fit_into_memory(monkeypatch):
    monkeypatch.setattr("cxr_ray.archive.id_accounts.MEMORY", "40MB")
    batches = [pa.array([f"{'long name of an image ' * 5}{i}" for i in range(k, 400_000, 8)]) for k in range(8)]
    (row,) = [row for batch in differing_ids(batches, [*batches[1:], batches[0][1:]]) for row in batch.to_pylist()]
    assert (row["place"], row["named"], row["found"]) == (0, 1, 0)


def test_a_table_that_cannot_be_read_is_the_error_that_reading_it_raises():
    def broken():
        yield pa.array(["a"])
        raise StorageError("x.parquet is not readable as Parquet")

    with pytest.raises(StorageError, match=r"^x.parquet is not readable as Parquet$"):
        list(differing_ids(broken(), []))
    with pytest.raises(StorageError, match=r"^x.parquet is not readable as Parquet$"):
        repeated_ids(broken())
