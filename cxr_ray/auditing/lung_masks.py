"""Masks of the lungs at the size of a classifier, from the pictures of a dataset or from a segmenter."""

import numpy as np
import pyarrow as pa
from PIL import Image

from cxr_ray.errors import BundleError, DatasetError
from cxr_ray.imaging.load import load_images
from cxr_ray.imaging.mask_picture import mask_of_picture
from cxr_ray.imaging.resize import resize_image
from cxr_ray.models.engines.engine import EngineName
from cxr_ray.models.segmenter import Segmenter

SEGMENTED_AT_ONCE = 16


def lungs_of_dataset(rows: pa.Table, size: int) -> np.ndarray:
    """Read the masks that a dataset names, bool [N, size, size]; an image without one has an empty mask.

    Args:
        rows: N rows of `schema.DATASET`.
        size: height and width of the classifier's images, to which masks are squashed by nearest neighbour.

    Raises:
        DatasetError: if a mask cannot be read.
    """
    uris = rows["mask_uri"].to_pylist()
    named = [position for position, uri in enumerate(uris) if uri is not None]
    lungs = np.zeros((len(uris), size, size), bool)
    for position, loaded in zip(named, load_images([uris[place] for place in named]), strict=True):
        if loaded.decoded.pixels is None:
            image_id = rows["image_id"][position].as_py()
            raise DatasetError(
                f"the mask of {image_id} cannot be read: {loaded.decoded.error}; prepare the dataset again"
            )
        mask = Image.fromarray(mask_of_picture(loaded.decoded))
        lungs[position] = np.asarray(mask.resize((size, size), Image.Resampling.NEAREST))
    return lungs


def lungs_of_segmenter(pixels: np.ndarray, uri: str, engine: EngineName) -> np.ndarray:
    """Segment the lungs of images uint8 [N, S, S], bool [N, S, S]: at most two regions, each above 0.5 % of the image.

    Raises:
        BundleError: if the bundle is missing, of another kind, damaged, or gives numbers that are not finite.
    """
    from cxr_ray.models.lung_segmentation import segmentations_of

    segmenter, size = Segmenter(uri, engine=engine, precision="fp32"), pixels.shape[1]
    lungs = np.zeros(pixels.shape, bool)
    for start in range(0, len(pixels), SEGMENTED_AT_ONCE):
        part = pixels[start : start + SEGMENTED_AT_ONCE]
        squashed = np.stack([resize_image(image, segmenter.card.image_size) for image in part])
        found = segmentations_of(segmenter.predict(squashed), [(size, size)] * len(part))
        for place, segmentation in enumerate(found, start=start):
            if segmentation is None:
                raise BundleError(f"{uri} gives no finite number for an image; train the segmenter again")
            lungs[place] = segmentation.mask
    return lungs
