"""Find the mask of each image by class, split and base name."""

import logging
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import PurePosixPath

from cxr_ray.errors import DatasetError
from cxr_ray.preparation.folders import Place

log = logging.getLogger("cxr_ray")


@dataclass(frozen=True, slots=True)
class PlacedObject:
    """An object in a folder of images or masks; there may be millions, so that no more is kept of each."""

    name: str
    """Path relative to the archive."""
    uri: str
    place: Place

    @property
    def group(self) -> tuple[str, ...]:
        """Equal for an image and the masks that may belong to it."""
        return (*self.place.key, PurePosixPath(self.name).stem)

    @property
    def twin(self) -> str:
        """Path without the word `images` or `masks`, equal for an image and a mask that is named as the image is."""
        folder, _, base = self.name.rpartition("/")
        return re.sub(r"(image|mask)s?$", "", folder, flags=re.IGNORECASE) + "/" + base


def pair_masks(images: list[PlacedObject], masks: list[PlacedObject]) -> dict[str, str]:
    """Find the URI of the mask of each image that has one, and warn of masks without an image.

    A mask belongs to the image of the same class, split and base name, whatever the suffix of its file. Where several
    images or masks share a base name, each image needs a mask of its own full name.

    Returns:
        `image_id` -> URI of the mask.

    Raises:
        DatasetError: if it is not certain which image a mask belongs to.
    """
    images_of, masks_of = _grouped(images), _grouped(masks)
    pairs: dict[str, str] = {}
    for group in images_of.keys() & masks_of.keys():
        pairs |= _pairs_of_group(images_of[group], masks_of[group])
    alone = sorted(mask.name for group in masks_of.keys() - images_of.keys() for mask in masks_of[group])
    if alone:
        log.warning(
            "%d of %d masks belong to no image, the first is %s; a mask is named like its image, as in CLASS/images/1.png"
            " and CLASS/masks/1.png",
            len(alone),
            len(masks),
            alone[0],
        )
    return pairs


def _grouped(objects: list[PlacedObject]) -> dict[tuple[str, ...], list[PlacedObject]]:
    groups: dict[tuple[str, ...], list[PlacedObject]] = defaultdict(list)
    for placed in objects:
        groups[placed.group].append(placed)
    return groups


def _pairs_of_group(images: list[PlacedObject], masks: list[PlacedObject]) -> dict[str, str]:
    if len(images) == len(masks) == 1:
        return {images[0].name: masks[0].uri}
    by_twin = {mask.twin: mask.uri for mask in masks}
    if len(images) == len(by_twin) and {image.twin for image in images} == by_twin.keys():
        return {image.name: by_twin[image.twin] for image in images}
    image_names, mask_names = (" and ".join(sorted(placed.name for placed in some)) for some in (images, masks))
    verb = "share" if len(images) > 1 else "has"
    noun = "mask" if len(masks) == 1 else "masks"
    raise DatasetError(
        f"{image_names} {verb} the {noun} {mask_names}; give every image one mask with its own base name"
    )
