"""Encode a column as a small script that hands it to the page, because a page of a local disk may load scripts and no data.

Each file calls `cxrColumn({...})` with one JSON object: numbers are base64 of little-endian arrays, words are an index into a list of
different words, and names are written without the start that they share with the name before.
"""

import base64
import json
from collections.abc import Mapping
from os.path import commonprefix
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.config.redaction import redacted

MAX_SHARED = 65_535
"""Maximum length of a shared start, which is a number of 16 bits."""


def script_of(name: str, column: Mapping[str, Any]) -> bytes:
    """Write an encoded column as a script in ASCII."""
    return f"cxrColumn({json.dumps({'name': name, **column}, separators=(',', ':'))});\n".encode("ascii")


def encode_numbers(column: pa.ChunkedArray) -> dict[str, Any]:
    """Encode numbers as float32 [N]; null becomes NaN."""
    values = column.cast(pa.float32()).to_numpy(zero_copy_only=False).astype("<f4")
    return {"kind": "number", "data": _base64(values)}


def encode_words(column: pa.ChunkedArray) -> dict[str, Any]:
    """Encode text of few different words as indices [N] into `words`, the most frequent first; null is an entry of `words`."""
    codes, words = _codes(column)
    return {"kind": "word", "words": words, **_indices(codes, len(words))}


def encode_lists(column: pa.ChunkedArray) -> dict[str, Any]:
    """Encode lists of words: `starts` uint32 [N + 1] into the indices of the words; null is an empty list."""
    lengths = np.array(pc.fill_null(pc.list_value_length(column), 0).to_numpy(), dtype=np.int64)
    codes, words = _codes(pc.list_flatten(column))
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype("<u4")
    return {"kind": "list", "words": words, "starts": _base64(starts), **_indices(codes, len(words))}


def encode_names(names: list[str]) -> dict[str, Any]:
    """Encode sorted names: `shared` uint16 [N], the UTF-16 units that a name shares with the one before, and the rest of each."""
    shared, rest, before = [], [], ""
    for name in names:
        start = commonprefix((before, name))  # noqa: RUF071 - of letters, not of folders
        units = len(start.encode("utf-16-le", "surrogatepass")) // 2  # characters, as JavaScript counts them
        start = start if units <= MAX_SHARED else ""
        shared.append(units if start else 0)
        rest.append(name[len(start) :])
        before = name
    return {"kind": "name", "shared": _base64(np.array(shared, "<u2")), "rest": rest}


def encode_uris(uris: list[str], names: list[str]) -> dict[str, Any]:
    """Encode URIs as indices into `words`; where a URI ends with the name of its image, the word is what stands before it.

    `ends` tells of each word whether the name of the image follows it. Secrets in URIs are replaced by `***`.
    """
    parts = [
        (redacted(uri.removesuffix(name)), True)
        if name and uri.endswith(name) and "?" not in uri
        else (redacted(uri), False)
        for uri, name in zip(uris, names, strict=True)
    ]
    words = {part: code for code, part in enumerate(dict.fromkeys(parts))}
    codes = np.array([words[part] for part in parts], dtype=np.int64)
    texts = [text for text, _ in words]
    return {"kind": "uri", "words": texts, "ends": [ends for _, ends in words], **_indices(codes, len(words))}


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str | None]]:
    """Indices int64 [N] into the different words of a column, the most frequent first."""
    counts = sorted(pc.value_counts(column).to_pylist(), key=lambda one: (-one["counts"], one["values"] or ""))
    words = [one["values"] for one in counts]
    known = pa.array(words, column.type)
    return pc.index_in(column, value_set=known).to_numpy().astype(np.int64), [_shown(word) for word in words]


def _shown(word: object) -> str | None:
    return None if word is None else redacted(str(word))


def _indices(codes: np.ndarray, words: int) -> dict[str, Any]:
    bits = 8 if words <= 2**8 else 16 if words <= 2**16 else 32
    return {"bits": bits, "data": _base64(codes.astype(f"<u{bits // 8}"))}


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
