"""Graphs that were tampered with: OpenVINO never sees them."""

import re

import pytest

from cxr_ray.errors import BundleError
from cxr_ray.models.engines.inert_graph import MOST_BYTES, inert_graph

HEAD = b'<?xml version="1.0"?>'
BOMB = b'<!DOCTYPE net [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
FILE = b'<!DOCTYPE net [<!ENTITY a SYSTEM "file:///etc/passwd">]>'
LOOP = b"<body><layers /></body>"
STATE = b'<layer id="900" name="s" type="ReadValue" version="opset6"><data variable_id="v" /></layer>'
PLUGIN = b'<layer id="900" name="s" type="Add" version="extension" />'
CONSTANT = b'<layer id="900" name="c" type="Const" version="opset1"><data element_type="%s" shape="%s" offset="%d" size="%d" /></layer>'
INPUT = b'<layer id="900" name="p" type="Parameter" version="opset1"><data shape="?,16,16" element_type="u8" /></layer>'
OUTPUT = b'<layer id="900" name="r" type="Result" version="opset1" />'


def checked(graph, small_int8, image_size=16):
    return inert_graph("m", graph, constants_bytes=len(small_int8.constants), image_size=image_size)


def with_layer(layer):
    return lambda graph: graph.replace(b"</layers>", layer + b"</layers>")


def test_a_graph_that_was_checked_stays_as_it_is(small_int8):
    assert checked(small_int8.graph, small_int8) == small_int8.graph


def test_notes_are_left_out(small_int8):
    notes = b'<rt_info><weights_path value="/etc/passwd" /></rt_info>'
    noted = small_int8.graph.replace(b"</net>", notes + b"</net>").replace(b"</layer>", notes + b"</layer>", 1)
    assert noted.count(b"passwd") == 2
    assert checked(noted, small_int8) == small_int8.graph


@pytest.mark.parametrize(
    ("tamper", "fault"),
    [
        (lambda graph: b"", "its graph is no XML: "),
        (lambda graph: b"\x08\x07\x12\x07pytorch", "its graph is no XML: "),
        (lambda graph: graph[:-20], "its graph is no XML: "),
        (lambda graph: b'<?xml version="1.0" encoding="no-such"?>' + graph, "its graph is no XML: "),
        (lambda graph: HEAD + BOMB + graph, "its graph is no XML: it declares a document type"),
        (lambda graph: HEAD + FILE + graph, "its graph is no XML: it declares a document type"),
        (lambda graph: graph + b" " * MOST_BYTES, "its graph has 33,.* bytes, more than 33,554,432"),
        (lambda graph: b'<model version="11" />', "it is no net of version 11 but model of version 11"),
        (lambda graph: graph.replace(b'version="11"', b'version="5"', 1), "no net of version 11 but net of version 5"),
        (lambda graph: graph.replace(b"</layer>", LOOP + b"</layer>", 1), "layer holds 'body'"),
        (lambda graph: graph.replace(b"<layers>", b"<weights /><layers>"), "net holds 'weights'"),
        (with_layer(STATE), "it has the operation 'ReadValue' of 'opset6'"),
        (with_layer(PLUGIN), "it has the operation 'Add' of 'extension'"),
        (
            with_layer(CONSTANT % (b"f32", b"2", 0, 8 * 10**9)),
            "a constant of shape .2. has 8,000,000,000 bytes from 0 on",
        ),
        (with_layer(CONSTANT % (b"f32", b"2", 10**9, 8)), "a constant of shape .2. has 8 bytes from 1,000,000,000 on"),
        (with_layer(CONSTANT % (b"f32", b"2", -8, 8)), "a constant of shape .2. has 8 bytes from -8 on"),
        (with_layer(CONSTANT % (b"f32", b"-1,-2", 0, 8)), "a constant of shape .-1, -2. has 8 bytes"),
        (with_layer(CONSTANT % (b"string", b"2", 0, 8)), "a constant is not described: 'string'"),
        (with_layer(CONSTANT % (b"f32", b"two", 0, 8)), "a constant is not described: invalid literal"),
        (with_layer(INPUT), r"its input is u8 \[\?,16,16\], u8 \[\?,16,16\], not u8 \[\?,16,16\]"),
        (with_layer(OUTPUT), "it has 2 outputs, not one"),
    ],
)
def test_what_a_classifier_does_not_need_is_refused(small_int8, tamper, fault):
    with pytest.raises(BundleError, match=f"^m: its int8 network is damaged or foreign: .*{fault}.*optimize_model.py$"):
        checked(tamper(small_int8.graph), small_int8)


def test_a_graph_for_another_size_or_with_fewer_constants_is_refused(small_int8):
    with pytest.raises(BundleError, match=r"its input is u8 \[\?,16,16\], not u8 \[\?,32,32\]"):
        checked(small_int8.graph, small_int8, image_size=32)
    with pytest.raises(BundleError, match="a constant of shape"):
        inert_graph("m", small_int8.graph, constants_bytes=len(small_int8.constants) - 1, image_size=16)


def test_the_checked_constants_are_all_that_the_graph_has(small_int8):
    ends = re.findall(rb'offset="(\d+)" size="(\d+)"', small_int8.graph)
    assert max(int(start) + int(size) for start, size in ends) == len(small_int8.constants)
