"""Find the images of a folder of radiographs, with the label, split and mask that their paths give."""

import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from cxr_ray.archive.fetch import fetch_objects
from cxr_ray.archive.listing import ListedObject
from cxr_ray.archive.manifest import BATCH, IMAGE_SUFFIXES, SIDECAR_SUFFIXES, batched
from cxr_ray.archive.recognise import HEAD_BYTES, recognise_format
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.folders import CANONICAL_LABELS, canonical_label, place_of
from cxr_ray.preparation.pair_masks import PlacedObject, pair_masks

log = logging.getLogger("cxr_ray")

MOST_FOLDERS_NAMED = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelledImage:
    """An image with the label, split, mask and patient that its folder and `metadata.csv` give."""

    image_id: str
    """Path relative to the input folder."""
    uri: str
    label: str | None
    split: str | None = None
    """Split that the folder names; None if it names none."""
    mask_uri: str | None = None
    patient_id: str | None = None
    values: tuple[int | None, ...] = ()
    """Value of each finding of a dataset of findings: 1 present, 0 absent, -1 uncertain or None."""


def read_layout(objects: Iterable[ListedObject]) -> list[LabelledImage]:
    """Find the images of a folder with their labels, splits and masks, sorted by image_id.

    These layouts are read, and may be mixed: `CLASS/images/*` with `CLASS/masks/*` (COVID-19 Radiography Database),
    `CLASS/{train,val,test}_{images,masks}/*` (MedCLIP-SAMv2), `{train,val,test}/CLASS/{images,masks}/*`, and all of them
    without CLASS. A mask belongs to the image of the same class, split and base name. Images in other folders are
    passed over with a warning.

    Raises:
        DatasetError: if no image is found in any of these layouts, the images of a known class lie in none of them, a
            folder mixes a split with other words, or it is not certain which image a mask belongs to.
    """
    images: list[PlacedObject] = []
    masks: list[PlacedObject] = []
    elsewhere: list[str] = []
    for entry in objects:
        place = place_of(entry.name)
        if place is not None:
            (masks if place.role == "masks" else images).append(PlacedObject(entry.name, entry.uri, place))
        elif _may_be_image(entry.name):
            elsewhere.append(entry.name)
    _report_elsewhere(elsewhere, {image.place.label for image in images})
    if not images:
        raise DatasetError(
            "no image found; expected CLASS/images/*, CLASS/{train,val,test}_images/* or images/* below the input"
            + (f"; {len(elsewhere)} files lie elsewhere, the first is {elsewhere[0]}" if elsewhere else "")
        )
    mask_of = pair_masks(images, masks)
    found = [
        LabelledImage(
            image_id=image.name,
            uri=image.uri,
            label=image.place.label,
            split=image.place.split,
            mask_uri=mask_of.get(image.name),
        )
        for image in images
    ]
    return sorted(found, key=lambda image: image.image_id)


def without_other_files(objects: Iterable[ListedObject]) -> Iterator[ListedObject]:
    """Yield the objects without files in folders of images and masks that are images neither by name nor by content, such as `notes.txt`.

    The rule is that of `index_archive.py`; the first bytes are read only of files with the suffix of another kind.
    """
    passed, first = 0, ""
    for batch in batched(objects, BATCH):
        doubtful = [entry for entry in batch if _is_sidecar(entry.name) and place_of(entry.name)]
        heads = fetch_objects([entry.uri for entry in doubtful], first_bytes=HEAD_BYTES)
        others = {
            entry.name
            for entry, head in zip(doubtful, heads, strict=True)
            if not head.data or recognise_format(head.data) is None
        }
        passed += len(others)
        first = min({first, *others} - {""}, default="")
        yield from (entry for entry in batch if entry.name not in others)
    if passed:
        log.warning(
            "%d files in folders of images or masks are no images and are passed over, the first is %s", passed, first
        )


def _is_sidecar(name: str) -> bool:
    return name.lower().endswith(SIDECAR_SUFFIXES)


def _may_be_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) or ("/" in name and not _is_sidecar(name))


def _report_elsewhere(names: list[str], labels: set[str | None]) -> None:
    """Warn of images in folders that are not read, and refuse them if they are all that there is of a known class.

    Args:
        names: paths of these images.
        labels: classes of the images that are read.
    """
    if not names or not labels:  # without any image that is read, the error about that names the first
        return
    for name in names:
        folder = PurePosixPath(name).parent
        if canonical_label(folder.name) in set(CANONICAL_LABELS.values()) - labels:
            raise DatasetError(f"{name} would not be read; move the images of {folder} to {folder}/images")
    counts = Counter(str(PurePosixPath(name).parent) for name in names)
    named = ", ".join(f"{folder} ({count})" for folder, count in list(counts.items())[:MOST_FOLDERS_NAMED])
    log.warning(
        "%d files in %d folders that are not read are passed over, the first is %s; images are read from CLASS/images;"
        " folders passed over: %s%s",
        len(names),
        len(counts),
        names[0],
        named,
        ", ..." if len(counts) > MOST_FOLDERS_NAMED else "",
    )
