"""Third stage of segmentation by a segmenter: maps at the network's resolution to masks and files, in tasks on CPUs, without torch."""

import math

import numpy as np
import pyarrow as pa

from cxr_ray.config.segmentation import SegmenterSettings
from cxr_ray.imaging.mask_runs import resized_runs
from cxr_ray.schema import MAP_COLUMN, MASKS
from cxr_ray.scoring.stages.load import images_of
from cxr_ray.scoring.stages.mask_columns import mask_columns
from cxr_ray.scoring.stages.segment_outputs import OVERLAY_IMAGE, SegmentOutputs

ENTROPY_COLUMN = "map_entropy"
"""Column of the entropy at the network's resolution, float32 in row-major order; null if no file needs it."""
MAPS = pa.schema([*MASKS, pa.field(MAP_COLUMN, pa.binary()), pa.field(ENTROPY_COLUMN, pa.binary())])
"""Rows of masks before `MaskStage`, with maps at the network's resolution: `LungMap.shades`, and the entropy if it is asked for."""


class MaskStage:
    """Makes the masks of maps, and writes the additional files of each image, in tasks on CPUs; usable without Ray.

    Args:
        settings: threshold of the masks.
        outputs: writes the additional files of each image.
    """

    def __init__(self, *, settings: SegmenterSettings, outputs: SegmentOutputs) -> None:
        self._threshold, self._outputs = 255 * settings.foreground, outputs

    def __call__(self, maps: pa.Table) -> pa.Table:
        """Turn N rows of `MAPS` into N rows of `schema.MASKS`; masks of error rows are null."""
        rows = maps.select(MASKS.names).to_pylist()
        found = [place for place, shades in enumerate(maps[MAP_COLUMN]) if shades.is_valid]
        images: list[np.ndarray | None] = [None] * len(found)
        if self._outputs.files.save_overlays:
            images = list(images_of(maps.take(found), OVERLAY_IMAGE))
        for place, image in zip(found, images, strict=True):
            row, shades, entropy = rows[place], maps[MAP_COLUMN][place], maps[ENTROPY_COLUMN][place]
            runs = resized_runs(_square(shades, np.uint8), row["height"], row["width"], self._threshold)
            uncertainty = _square(entropy, np.float32) if entropy.is_valid else None
            row["error"] = self._outputs.write(row, image, runs, uncertainty=uncertainty)
            row.update(mask_columns(runs))
        return pa.Table.from_pylist(rows, schema=MASKS)


def _square(values: pa.BinaryScalar, dtype: type[np.generic]) -> np.ndarray:
    """The square map [S, S] in a value of `MAPS`."""
    flat = np.frombuffer(values.as_buffer(), dtype)
    return flat.reshape(math.isqrt(flat.size), -1)
