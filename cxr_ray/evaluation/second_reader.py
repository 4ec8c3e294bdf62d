"""Masks of the same images by another reader: which mask belongs to which image, and how far the two readers agree."""

from collections import defaultdict
from pathlib import PurePosixPath

import pyarrow as pa
import pyarrow.compute as pc

from cxr_ray.archive.listing import list_objects
from cxr_ray.archive.manifest import SIDECAR_SUFFIXES
from cxr_ray.archive.tables import read_table
from cxr_ray.errors import DatasetError

SECOND_URI = "second_mask_uri"
"""Column of the URI of the second reader's mask; null for an image without one."""
_ROLES = frozenset({"image", "images", "mask", "masks"})


def with_second_masks(images: pa.Table, uri: str) -> pa.Table:
    """Add the column `SECOND_URI` to images.

    Args:
        images: rows of `schema.DATASET`.
        uri: a Parquet table with the columns `image_id` and `mask_uri`, or a folder of masks. A mask of a folder has the
            base name of its image, whatever its suffix; where several images share a base name, the folders above decide,
            without those named `images` or `masks`.

    Raises:
        DatasetError: if no image has a mask at `uri`, or it is not certain which mask belongs to an image.
        StorageError: if `uri` cannot be read.
    """
    image_ids = images["image_id"].to_pylist()
    found = _of_table(uri) if uri.endswith(".parquet") else _of_folder(image_ids, uri)
    uris = [found.get(image_id) for image_id in image_ids]
    if not any(uris):
        raise DatasetError(
            f"no mask of {uri} belongs to one of the {len(uris):,} images, such as {image_ids[0]!r}; name each mask like its image"
        )
    return images.append_column(SECOND_URI, pa.array(uris, pa.string()))


def _of_table(uri: str) -> dict[str, str]:
    table = read_table(uri, ["image_id", "mask_uri"])
    known = table.filter(pc.is_valid(table["mask_uri"]))
    ids = known["image_id"].to_pylist()
    if len(set(ids)) < len(ids):
        raise DatasetError(f"{uri} has several masks of one image; keep one row for each image_id")
    return dict(zip(ids, known["mask_uri"].to_pylist(), strict=True))


def _of_folder(image_ids: list[str], uri: str) -> dict[str, str]:
    by_stem: dict[str, list[tuple[tuple[str, ...], str, str]]] = defaultdict(list)
    for entry in list_objects(uri):
        if not entry.name.lower().endswith(SIDECAR_SUFFIXES):
            key = _key(entry.name)
            by_stem[key[-1]].append((key, entry.name, entry.uri))
    owners: dict[str, str] = {}
    found: dict[str, str] = {}
    for image_id in image_ids:
        key = _key(image_id)
        fitting = [(name, of_mask) for other, name, of_mask in by_stem[key[-1]] if _is_end(key, other)]
        if len(fitting) > 1:
            names = " and ".join(name for name, _ in fitting[:2])
            raise DatasetError(f"{image_id} has several masks in {uri}: {names}; give every image one mask")
        for name, of_mask in fitting:
            if of_mask in owners:
                raise DatasetError(
                    f"{owners[of_mask]} and {image_id} share the mask {name} of {uri}; put masks into folders like their images"
                )
            owners[of_mask], found[image_id] = image_id, of_mask
    return found


def _key(name: str) -> tuple[str, ...]:
    """Folders and base name of a path, without the folders that only say that they hold images or masks."""
    path = PurePosixPath(name)
    return (*(folder for folder in path.parent.parts if folder.casefold() not in _ROLES), path.stem)


def _is_end(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether the shorter path is the end of the longer one, because the two may be named from different roots."""
    shorter, longer = sorted((one, other), key=len)
    return longer[-len(shorter) :] == shorter
