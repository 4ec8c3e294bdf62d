"""Graphs of OpenVINO in bundles: XML that may come from anywhere is read as data, checked, and written anew."""

import math
import re
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser, tostring

from cxr_ray.errors import BundleError

MOST_BYTES = 32 * 2**20
"""Maximum size of a graph without its constants, some 30 times that of the largest backbone."""
CHILDREN = {
    "net": {"layers", "edges"},
    "layers": {"layer"},
    "layer": {"data", "input", "output"},
    "input": {"port"},
    "output": {"port"},
    "port": {"dim"},
    "edges": {"edge"},
}
"""Elements of a graph and what they may hold. Others describe loops, states or plug-ins, which no classifier has."""
NOTES = "rt_info"
"""Element with notes about the making of a graph, such as versions and paths; they are left out."""
BYTES = {"boolean": 1, "i8": 1, "u8": 1, "f16": 2, "bf16": 2, "i32": 4, "f32": 4, "i64": 8}
"""Size of an element of a constant by its type."""
# fmt: off
OPERATIONS = frozenset({
    "Abs", "AdaptiveAvgPool", "Add", "AvgPool", "Broadcast", "Ceiling", "Clamp", "Concat", "Const", "Convert",
    "Convolution", "DepthToSpace", "Divide", "Elu", "Erf", "Exp", "FakeQuantize", "Floor", "FloorMod", "Gather",
    "Gelu", "Greater", "GroupConvolution", "GroupNormalization", "HSigmoid", "HSwish", "HardSigmoid", "Interpolate",
    "Less", "MVN", "MatMul", "MaxPool", "Maximum", "Minimum", "Mish", "Mod", "Multiply", "NormalizeL2", "PReLU",
    "Pad", "Parameter", "Power", "Range", "ReLU", "ReduceMax", "ReduceMean", "ReduceSum", "Reshape", "Result", "Roll",
    "Round", "ScaledDotProductAttention", "Select", "Selu", "ShapeOf", "ShuffleChannels", "Sigmoid", "Slice",
    "SoftMax", "SoftPlus", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "StridedSlice", "Subtract", "Swish", "Tanh",
    "Tile", "Transpose", "Unsqueeze", "VariadicSplit",
})
# fmt: on
"""Operations of which image classifiers are made: those of 26 architectures of timm and close relatives of them.

Each computes a tensor from tensors; none keeps a state, repeats a part of the graph or names a file.
"""


def inert_graph(name: str, xml: bytes, *, constants_bytes: int, image_size: int) -> bytes:
    """Check a graph and write it anew, so that OpenVINO reads nothing that was not checked.

    The result names no file, and consists of known operations of OpenVINO's own sets. It has one input, uint8
    [N, S, S], and one output, and its constants lie within the bytes that belong to it.

    Args:
        name: whose graph it is, for messages.
        xml: the graph, in the XML of OpenVINO's intermediate representation 11.
        constants_bytes: number of bytes of its constants.
        image_size: height and width S of the input in pixels.

    Raises:
        BundleError: if the graph is damaged or has anything else than these parts.
    """
    net = _parsed(name, xml)
    if net.tag != "net" or net.get("version") != "11":
        raise refused(name, f"it is no net of version 11 but {net.tag} of version {net.get('version')}")
    _check_children(name, net)
    layers = [*net.iter("layer")]
    for layer in layers:
        kind, opset = layer.get("type", ""), layer.get("version", "")
        if kind not in OPERATIONS or not re.fullmatch(r"opset\d{1,2}", opset):
            raise refused(name, f"it has the operation {kind!r} of {opset!r}, which is none of an image classifier")
    for constant in _data_of(layers, "Const"):
        _check_constant(name, constant, constants_bytes)
    inputs, outputs = [*_data_of(layers, "Parameter")], [layer for layer in layers if layer.get("type") == "Result"]
    found = [f"{data.get('element_type')} [{data.get('shape', '').replace(' ', '')}]" for data in inputs]
    if found not in [[f"u8 [{number},{image_size},{image_size}]"] for number in ("?", "-1")]:
        raise refused(name, f"its input is {', '.join(found) or 'missing'}, not u8 [?,{image_size},{image_size}]")
    if len(outputs) != 1:
        raise refused(name, f"it has {len(outputs)} outputs, not one")
    return bytes(tostring(net))


def refused(name: str, fault: str) -> BundleError:
    """Make the error for an int8 network that is not what `optimize_model.py` writes."""
    return BundleError(f"{name}: its int8 network is damaged or foreign: {fault}; make it with optimize_model.py")


class _Builder(TreeBuilder):
    """Builds a tree of elements; a document type, by which XML names files and multiplies text, ends the reading."""

    def doctype(self, *_: object) -> None:
        raise ParseError("it declares a document type")


def _parsed(name: str, xml: bytes) -> Element:
    if len(xml) > MOST_BYTES:
        raise refused(name, f"its graph has {len(xml):,} bytes, more than {MOST_BYTES:,}")
    parser = XMLParser(target=_Builder())  # noqa: S314  document types, the danger of XML, are refused
    try:
        parser.feed(xml)
        net: Element = parser.close()
    except (ParseError, ValueError, LookupError) as error:  # malformed, or of an encoding that does not exist
        raise refused(name, f"its graph is no XML: {error}") from error
    return net


def _check_children(name: str, element: Element) -> None:
    """Check what an element holds, all the way down, and leave out the notes."""
    for notes in element.findall(NOTES):
        element.remove(notes)
    if strange := {child.tag for child in element} - CHILDREN.get(element.tag, set()):
        raise refused(name, f"{element.tag} holds {', '.join(sorted(map(repr, strange)))}")
    for child in element:
        _check_children(name, child)


def _data_of(layers: list[Element], kind: str) -> Iterator[Element]:
    """The `data` of each layer of one type; an element without attributes for a layer that lacks it."""
    for layer in layers:
        if layer.get("type") == kind:
            data = layer.find("data")
            yield Element("data") if data is None else data


def _check_constant(name: str, data: Element, constants_bytes: int) -> None:
    """Check that a constant is as long as its shape says and lies within the bytes of the constants."""
    try:
        shape = [int(size) for size in data.get("shape", "").split(",") if size.strip()]
        start, size = int(data.attrib["offset"]), int(data.attrib["size"])
        expected = math.prod(shape) * BYTES[data.attrib["element_type"]]
    except (KeyError, ValueError) as error:
        raise refused(name, f"a constant is not described: {error}") from error
    if min([start, size, *shape]) < 0 or size != expected or start + size > constants_bytes:
        raise refused(
            name,
            f"a constant of shape {shape} has {size:,} bytes from {start:,} on, of {constants_bytes:,}",
        )
