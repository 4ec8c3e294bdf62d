"""Read class, split and role of a file from the names of its folders."""

import re
from dataclasses import dataclass
from functools import lru_cache

from cxr_ray.errors import DatasetError
from cxr_ray.schema import LABELS

CANONICAL_LABELS = {label.casefold(): label for label in LABELS}
_SPLIT = re.compile(
    r"(?:(?P<train>train|training|trn)|(?P<val>val|valid|validation|dev)|(?P<test>test|testing|tst))(?:set|data|split)?\d*"
)
_ROLE = re.compile(r"(?:(?P<split>.+)_)?(?P<role>image|mask)s?")
_NUMBERED = re.compile(
    r"\d+|.*_0\d+|(?:images?|imgs?|batch|part|chunk|shard|folder|dir|set|subset|data|dataset|vol|volume|disk|disc|cd|dvd"
    r"|archive|fold|p|pat|patient|subject|sub|case|study|series|s|scans?|site|center|centre|hospital|run|session|exam|visit"
    r"|group|zip|xrays?)_?\d+"
)
_COLLECTION = re.compile(
    r"datasets?|data|images?|imgs?|all|archives?|radiographs?|radiography|x_?rays?|cxrs?|scans?|raw|pngs?|jpe?gs?|dicoms?|dcm"
    r"|inputs?|files|originals?|train_?val|eval|evaluation|holdout|unlabell?ed"
)
"""Names of folders that only collect images, or name several splits."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the folders of a file say about it."""

    label: str | None
    """Class that a folder names; None if none does."""
    split: str | None
    """`train`, `val` or `test`; None if no folder names a split."""
    role: str
    """`images` or `masks`."""
    other_folders: tuple[str, ...]
    """Folders above the last that name no class, such as `train`, `images_001` or `data`."""
    key: tuple[str, ...]
    """Equal for an image and its mask, apart from the name of the file: spellings of the folders, and the last one's split."""


def canonical_label(name: str) -> str:
    """Normalise the spelling of a label: `viral pneumonia` becomes `Viral_Pneumonia`; unknown names keep their case."""
    joined = "_".join(name.replace("-", " ").replace("_", " ").split())
    return CANONICAL_LABELS.get(joined.casefold(), joined)


def place_of(name: str) -> Place | None:
    """Read the place of a file, or None if it lies in no folder of images or masks.

    The last folder is `images`, `masks`, or one of them with a split before it, such as `train_images`. At most one of
    the folders above names a class; those named after a split, numbered ones and collections such as `data` name none.

    Args:
        name: path relative to the archive.

    Raises:
        DatasetError: if a folder holds a split and other words, such as `COVID_train`, which may name a class or not.
    """
    return _place_in(name.rpartition("/")[0])


@lru_cache(maxsize=4096)  # an archive has many files and few folders
def _place_in(path: str) -> Place | None:
    folders = [folder for folder in path.split("/") if folder]
    if not folders or not (last := _ROLE.fullmatch(_plain(folders[-1]))):
        return None
    above = folders[:-1]
    for folder in above:
        if _mixes_split(folder):
            raise DatasetError(
                f"the images in {path} lie in {folder}, which names a split and something else; name the folders as in"
                " CLASS/train_images or train/CLASS/images"
            )
    own_split = last["split"] and split_of(last["split"])
    if last["split"] and not own_split:
        return None
    splits = {split for split in (own_split, *map(split_of, above)) if split}
    classes = [folder for folder in above if not names_no_class(folder)]
    if len(classes) > 1 or len(splits) > 1:
        return None
    return Place(
        label=canonical_label(classes[0]) if classes else None,
        split=next(iter(splits), None),
        role=f"{last['role']}s",
        other_folders=tuple(folder for folder in above if names_no_class(folder)),
        key=(*(canonical_label(folder).casefold() for folder in above), own_split or ""),
    )


def split_of(folder: str) -> str | None:
    """Split that a folder is named after, such as `val` for `valid` or `Validation set`; None if it names none."""
    found = _SPLIT.fullmatch(_plain(folder).replace("_", ""))
    return found.lastgroup if found else None


def _mixes_split(folder: str) -> bool:
    plain = _plain(folder)
    return not names_no_class(folder) and any(split_of(word) for word in plain.split("_"))


def names_no_class(folder: str) -> bool:
    """Whether a folder is named after a split, is one of a numbered series, or only collects images."""
    plain = _plain(folder)
    return bool(split_of(folder) or _COLLECTION.fullmatch(plain) or _NUMBERED.fullmatch(plain))


def _plain(folder: str) -> str:
    """Name in lower case, with `_` for everything that is neither a letter nor a digit."""
    return re.sub(r"[\W_]+", "_", folder.casefold()).strip("_")
