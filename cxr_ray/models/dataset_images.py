"""Images of a dataset with what a classifier is compared with: pixels, true classes, and what belongs together."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.errors import DatasetError
from cxr_ray.imaging.load import load_images
from cxr_ray.imaging.resize import resize_image
from cxr_ray.models.bundle import ModelCard
from cxr_ray.models.task import outcomes
from cxr_ray.schema import probability_column

BATCH_SIZE = 32


@dataclass(frozen=True, kw_only=True)
class LabelledImages:
    """Images of a dataset whose class a classifier knows.

    Attributes:
        rows: N rows of `schema.DATASET`.
        truth: int64 [N], index of the true class among the classifier's outcomes.
        groups: int64 [N], equal for images of one patient and for copies of one image.
        left_out: number of images by label whose class the classifier does not know; None stands for no label.
    """

    rows: pa.Table
    truth: np.ndarray
    groups: np.ndarray
    left_out: dict[str | None, int]


def labelled_images(rows: pa.Table, card: ModelCard) -> LabelledImages:
    """Choose the images whose class the classifier of `card` knows; one spelling of a class is as good as another.

    A classifier of a single label tells its presence from its absence, so every other label counts as absence.

    Raises:
        DatasetError: if there is no such image.
    """
    names, _ = outcomes(card.labels, np.empty((0, len(card.labels))))
    known = {probability_column(name): number for number, name in enumerate(names)}
    elsewhere = None if len(card.labels) > 1 else 0
    labels = rows["label"].to_pylist()
    found = [None if label is None else known.get(probability_column(label), elsewhere) for label in labels]
    is_known = np.array([number is not None for number in found])
    left_out = pc.value_counts(pa.array(labels, pa.string()).filter(pa.array(~is_known))).to_pylist()
    if not is_known.any():
        raise DatasetError(f"the classifier knows {', '.join(names)}, and no image of the split has such a label")
    chosen = rows.filter(pa.array(is_known))
    return LabelledImages(
        rows=chosen,
        truth=np.array([number for number in found if number is not None], np.int64),
        groups=_groups(chosen),
        left_out={count["values"]: count["counts"] for count in left_out},
    )


def batches_of_pixels(rows: pa.Table, card: ModelCard) -> Iterator[np.ndarray]:
    """Load images at the size of a classifier, uint8 [n, S, S] with n up to `BATCH_SIZE`, in the order of the rows.

    Raises:
        DatasetError: if an image cannot be read, or is another file than when the dataset was prepared.
    """
    batch: list[np.ndarray] = []
    ids, contents = (rows[name].to_pylist() for name in ("image_id", "content_sha256"))
    images = load_images(rows["uri"].to_pylist(), wanted_sizes=(card.image_size,))
    for image_id, content, image in zip(ids, contents, images, strict=True):
        if image.decoded.pixels is None:
            raise DatasetError(
                f"{image_id} cannot be read: {image.decoded.error}; fix the file, or prepare the dataset again"
            )
        if content not in (None, image.content_sha256):
            raise DatasetError(f"{image_id} is another file than in the dataset; prepare the dataset again")
        batch.append(resize_image(image.decoded.pixels, card.image_size, card.interpolation))
        if len(batch) == BATCH_SIZE:
            yield np.stack(batch)
            batch = []
    if batch:
        yield np.stack(batch)


def _groups(rows: pa.Table) -> np.ndarray:
    """Number of the patient of each image; without a patient, that of the group of copies, or of the image itself."""
    keys = zip(*(rows[name].to_pylist() for name in ("patient_id", "duplicate_group", "image_id")), strict=True)
    named = [
        ("patient", patient) if patient is not None else ("copies", copies) if copies is not None else ("image", image)
        for patient, copies, image in keys
    ]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(named))}
    return np.array([numbers[key] for key in named], np.int64)
