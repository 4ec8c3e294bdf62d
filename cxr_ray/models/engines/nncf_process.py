"""Quantise a graph of OpenVINO to int8 by NNCF, in a process of its own, because NNCF changes the loggers of its process.

This file is run by its path and imports nothing of this package.
"""

import sys
from pathlib import Path

FLOAT_GRAPH, INT8_GRAPH, IMAGES = "float.xml", "int8.xml", "images.npy"
"""Files of the folder that the process is given: two that it reads, and the one that it writes."""
SMOOTH = frozenset({"Elu", "Gelu", "HSwish", "Mish", "PRelu", "Sigmoid", "Swish"})
"""Activations with negative outputs, for which NNCF advises asymmetric ranges."""


def main(folder: Path) -> None:
    """Quantise the graph `FLOAT_GRAPH` of a folder, and write `INT8_GRAPH` there.

    Weights become symmetric int8 for each channel, and activations int8 within the ranges that they have for the images
    `IMAGES`, uint8 [N, S, S]; the biases of layers are corrected for the mean error that this makes.
    """
    sys.modules["openvino_telemetry"] = None  # type: ignore[assignment] # hospitals allow no connection to the makers
    import nncf
    import numpy as np
    import openvino

    graph = openvino.Core().read_model(folder / FLOAT_GRAPH)
    images = np.load(folder / IMAGES)
    operations = {operation.get_type_name() for operation in graph.get_ops()}
    presets = nncf.QuantizationPreset
    quantised = nncf.quantize(
        graph,
        nncf.Dataset([images[i : i + 1] for i in range(len(images))]),
        subset_size=len(images),
        preset=presets.MIXED if operations & SMOOTH else presets.PERFORMANCE,
        model_type=nncf.ModelType.TRANSFORMER if "ScaledDotProductAttention" in operations else None,
        target_device=nncf.TargetDevice.CPU,
    )
    openvino.save_model(quantised, folder / INT8_GRAPH, compress_to_fp16=False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
