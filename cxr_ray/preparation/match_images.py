"""Match the paths of a table with the images of an archive, where either may name more folders than the other."""

from collections.abc import Sequence

from cxr_ray.archive.manifest import IMAGE_SUFFIXES
from cxr_ray.errors import DatasetError
from cxr_ray.preparation.finding_rows import LabelledPath
from cxr_ray.preparation.image_paths import plain_path

_SEVERAL = -1


def match_images(image_ids: Sequence[str], rows: Sequence[LabelledPath]) -> list[int | None]:
    """Find the image that each row names.

    A path names an image if the last parts of both are equal, as many as the shorter of them has: `1.png` names
    `images_001/images/1.png`, and `CheXpert-v1.0/train/patient1/study1/view1.jpg` names `train/patient1/study1/view1.jpg`. A
    suffix of an image format may be missing or another one.

    Args:
        image_ids: names of the images, relative to the archive, each once.
        rows: rows of tables.

    Returns:
        The position of the image of each row, None where there is none.

    Raises:
        DatasetError: if a path names several images, or two rows name one image.
    """
    paths = [plain_path(row.path).strip("/").split("/") for row in rows]
    depths = {len(path) for path in paths}
    parts = [plain_path(image_id).split("/") for image_id in image_ids]
    indexes = [ImageIndex(parts, depths), ImageIndex([[*p[:-1], _without_suffix(p[-1])] for p in parts], depths)]
    found = [_find(path, indexes, row) for path, row in zip(paths, rows, strict=True)]
    _refuse_doubles(found, rows, image_ids)
    return found


class ImageIndex:
    """Images by their whole paths, and by ends of their paths.

    Args:
        paths: parts of the path of each image.
        depths: numbers of parts of the paths that will be looked up.
    """

    def __init__(self, paths: Sequence[Sequence[str]], depths: set[int]) -> None:
        self._whole, self._ends = dict[str, int](), dict[str, int]()
        self._lengths = sorted({len(path) for path in paths})
        for position, path in enumerate(paths):
            _note(self._whole, "/".join(path), position)
            for depth in depths:
                if depth <= len(path):
                    _note(self._ends, "/".join(path[-depth:]), position)

    def find(self, path: Sequence[str]) -> set[int]:
        """Positions of the images that a path names; `_SEVERAL` stands for more than one."""
        name = "/".join(path)
        if name in self._whole:
            return {self._whole[name]}
        hits = {self._ends[name]} if name in self._ends else set[int]()
        shorter = ("/".join(path[-length:]) for length in self._lengths if length < len(path))
        return hits | {self._whole[end] for end in shorter if end in self._whole}


def _note(index: dict[str, int], key: str, position: int) -> None:
    index[key] = _SEVERAL if key in index else position


def _find(path: Sequence[str], indexes: Sequence[ImageIndex], row: LabelledPath) -> int | None:
    """Position of the image of one path: compared as it is, and without the suffix only if that finds nothing."""
    exact, bare = indexes
    hits = exact.find(path) or bare.find([*path[:-1], _without_suffix(path[-1])])
    if len(hits) > 1 or _SEVERAL in hits:
        raise DatasetError(
            f"{row.where} names several images by {row.path!r}; write paths with more folders, or choose a smaller --input-uri"
        )
    return next(iter(hits), None)


def _without_suffix(name: str) -> str:
    stem, dot, suffix = name.rpartition(".")
    return stem if dot and f".{suffix.casefold()}" in IMAGE_SUFFIXES else name


def _refuse_doubles(found: Sequence[int | None], rows: Sequence[LabelledPath], image_ids: Sequence[str]) -> None:
    first: dict[int, LabelledPath] = {}
    for position, row in zip(found, rows, strict=True):
        if position is not None and first.setdefault(position, row) is not row:
            raise DatasetError(
                f"{first[position].where} and {row.where} both name {image_ids[position]}; keep one of them"
            )
