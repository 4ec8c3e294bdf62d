"""Choose the label of each image from its folder and a table, and check that images without a label can be of use."""

import logging
import re
from collections import defaultdict
from collections.abc import Sequence

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.folders import place_of
from cxr_ray.preparation.layout import LabelledImage
from cxr_ray.schema import LABELS

log = logging.getLogger("cxr_ray")


def choose_labels(images: Sequence[LabelledImage], in_table: Sequence[str | None]) -> list[str | None]:
    """Label of each image: that of the table, else that of its folder, which must agree.

    Where the table labels all images and no folder is named like one of its labels, the folders name hospitals or parts
    of the archive: the table alone counts, and a warning says so.

    Args:
        images: images with the labels of their folders.
        in_table: label of each image in the table, or None.

    Raises:
        DatasetError: if the table contradicts a folder.
    """
    folders = {image.label for image in images if image.label}
    known = {label.casefold() for label in (*LABELS, *(label for label in in_table if label))}
    if folders and all(in_table) and not known & {folder.casefold() for folder in folders}:
        log.warning(
            "no folder is named like a label of metadata.csv, so that its labels count for all %d images; the first folder is %s",
            len(images),
            min(folders),
        )
        return list(in_table)
    return [_agreed(image, label, known) for image, label in zip(images, in_table, strict=True)]


def _agreed(image: LabelledImage, in_table: str | None, known: set[str]) -> str | None:
    if image.label is None or in_table is None:
        return image.label or in_table
    if image.label.casefold() == in_table.casefold():
        return image.label
    no_class = (
        "" if image.label.casefold() in known else ", or label all images in metadata.csv if folders name no classes"
    )
    raise DatasetError(
        f"metadata.csv gives {image.image_id} the label {in_table}, and its folder gives {image.label}; fix one of them{no_class}"
    )


def check_labels(images: Sequence[LabelledImage]) -> None:
    """Check the labels of a whole archive, and warn of labels that look like one, and of images without a label.

    Raises:
        DatasetError: if images have neither a label nor a mask because their folders name no class.
    """
    _report_alike({image.label for image in images if image.label})
    unlabelled = [image for image in images if image.label is None]
    if not unlabelled or (len(unlabelled) == len(images) and any(image.mask_uri for image in images)):
        return
    for image in unlabelled:
        place = place_of(image.image_id)
        if place and place.other_folders and not any(other.mask_uri for other in images):
            raise DatasetError(
                f"{len(unlabelled)} of {len(images)} images have no label, the first is {image.image_id}: a folder that is"
                f" named after a split, numbered or a collection, such as {place.other_folders[0]}, holds no class; give"
                " path,label,patient_id of each image in metadata.csv, or move the images to CLASS/images"
            )
    log.warning(
        "%d of %d images have no label, the first is %s; give labels in metadata.csv, or move them to CLASS/images",
        len(unlabelled),
        len(images),
        unlabelled[0].image_id,
    )


def _report_alike(labels: set[str]) -> None:
    """Warn of labels that differ only in capitals, punctuation or a number at the end."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in sorted(labels):
        alike[re.sub(r"[\W_]+|[\W_]*\d+$", "", label.casefold())].append(label)
    for stem, group in alike.items():
        if stem and len(group) > 1:
            log.warning(
                "the labels %s differ only in capitals, punctuation or a number, and are %d classes; name them alike if they"
                " are one, or give labels in metadata.csv if they are none",
                ", ".join(group),
                len(group),
            )
