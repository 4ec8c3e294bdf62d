"""A query of Daft, which downloads, decodes and resizes by its own functions, and calls torch for batches."""

import time
from typing import Any

from cxr_ray.benchmarks.peers.peer import PeerModel, PeerTask


def scored_at(task: PeerTask) -> list[float]:
    """Score the files; the time in seconds since 1970 at which the batch of each was done."""
    import daft
    from daft.functions import decode_image, download, resize

    size = task.card.image_size

    @daft.cls(max_concurrency=1, gpus=1 if task.device == "cuda" else 0)
    class Scorer:
        def __init__(self) -> None:
            self._model = PeerModel(task)

        @daft.method.batch(return_dtype=daft.DataType.float64(), batch_size=task.batch_size)
        def done_at(self, images: Any) -> Any:
            self._model(images.to_arrow().storage.flatten().to_numpy().reshape(-1, size, size, 3))
            return [time.time()] * len(images)

    images = resize(decode_image(download(daft.col("uri")), mode="RGB"), size, size)
    query = daft.from_pydict({"uri": list(task.uris)}).select(Scorer().done_at(images).alias("done_at"))
    times: list[float] = query.to_pydict()["done_at"]
    return times
