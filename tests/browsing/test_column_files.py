import base64
import json
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest

from cxr_ray.browsing.column_files import (
    encode_lists,
    encode_names,
    encode_numbers,
    encode_uris,
    encode_words,
    script_of,
)


def values(text, kind):
    return np.frombuffer(base64.b64decode(text), kind).tolist()


def names_of(column):
    """Names as the page reads them, in the units of JavaScript's strings."""
    before, names = b"", []
    for shared, rest in zip(values(column["shared"], "<u2"), column["rest"], strict=True):
        before = before[: 2 * shared] + rest.encode("utf-16-le", "surrogatepass")
        names.append(before.decode("utf-16-le", "surrogatepass"))
    return names


def test_numbers_are_float32_and_null_is_nan():
    column = encode_numbers(pa.chunked_array([[0.25, None], [0.95]]))
    found = values(column["data"], "<f4")
    assert found[0] == 0.25
    assert np.isnan(found[1])
    assert found[2] == np.float32(0.95)


def test_words_are_indices_the_most_frequent_first():
    column = encode_words(pa.chunked_array([["b", "a", None, "a"]]))
    assert column["words"] == ["a", None, "b"]
    assert values(column["data"], "u1") == [2, 0, 1, 0]


def test_more_than_256_words_take_two_bytes():
    column = encode_words(pa.chunked_array([[f"word {number}" for number in range(300)]]))
    assert column["bits"] == 16
    found = [column["words"][code] for code in values(column["data"], "<u2")]
    assert found == [f"word {number}" for number in range(300)]


def test_lists_keep_their_borders_and_null_is_empty():
    lists = [["rotated", "dark"], None, [], ["dark"]]
    column = encode_lists(pa.chunked_array([pa.array(lists, pa.list_(pa.string()))]))
    starts, codes = values(column["starts"], "<u4"), values(column["data"], "u1")
    words = [[column["words"][code] for code in codes[a:b]] for a, b in pairwise(starts)]
    assert words == [["rotated", "dark"], [], [], ["dark"]]


@pytest.mark.parametrize(
    "names",
    [
        ["a/1.png", "a/10.png", "a/2.png", "b"],
        ["röntgen/ä.png", "röntgen/äb.png"],
        ["🫁/1.png", "🫁/2.png", "🫀/1.png"],
        ["x" * 70_000 + "1", "x" * 70_000 + "2"],
        ["line\nbreak.png", 'quote".png', ""],
    ],
)
def test_names_come_back(names):
    assert names_of(encode_names(names)) == names


def test_neighbours_share_the_start_of_their_names():
    column = encode_names([f"ward/2026-11/study-{number:05d}.png" for number in range(100)])
    assert sum(map(len, column["rest"])) < 700


def test_uris_leave_out_the_name_and_secrets():
    names = ["a.png", "b.png", "c.png"]
    uris = ["s3://key:secret@bucket/x/a.png", "s3://key:secret@bucket/x/b.png", "https://host/c.png?sig=abc"]
    column = encode_uris(uris, names)
    assert column["words"] == ["s3://***@bucket/x/", "https://host/c.png?***"]
    assert column["ends"] == [True, False]
    assert values(column["data"], "u1") == [0, 0, 1]


def test_a_script_is_one_call_in_ascii():
    script = script_of("error", {"kind": "word", "words": ["ü\u2028</script>"]}).decode("ascii")
    assert script.startswith("cxrColumn({")
    assert json.loads(script.removeprefix("cxrColumn(").rstrip().removesuffix(");"))["words"] == ["ü\u2028</script>"]
