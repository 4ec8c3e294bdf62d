"""Int8 networks of bundles that may come from anywhere: every part is checked before an engine gets it."""

from cxr_ray.models.bundle import INT8_PREFIX, ModelCard, load_int8
from cxr_ray.models.engines.agreement import CHECK_IMAGES
from cxr_ray.models.engines.inert_graph import inert_graph, refused
from cxr_ray.models.engines.int8_network import Int8Network


def load_int8_network(uri: str, card: ModelCard) -> Int8Network:
    """Load the int8 network of the classifier in the bundle at `uri`, whose card is `card`; torch is not needed.

    Raises:
        BundleError: if the bundle is missing or altered, has no int8 network, or has one that `inert_graph` refuses.
    """
    arrays = load_int8(uri, card)
    if missing := {"graph", "constants", "reference"} - arrays.keys():
        raise refused(uri, f"the bundle has no tensor {INT8_PREFIX}{min(missing)}")
    graph, constants, reference = arrays["graph"], arrays["constants"], arrays["reference"]
    outputs = (CHECK_IMAGES, len(card.labels))
    if [array.dtype.name for array in (graph, constants, reference)] != ["uint8", "uint8", "float32"]:
        raise refused(uri, "its tensors are of other types than uint8, uint8 and float32")
    if reference.shape != outputs:
        raise refused(uri, f"its reference has the shape {list(reference.shape)}, not {list(outputs)}")
    return Int8Network(
        graph=inert_graph(uri, graph.tobytes(), constants_bytes=constants.nbytes, image_size=card.image_size),
        constants=constants.tobytes(),
        reference=reference,
    )
