"""Find the image that a path in a table names."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable

from cxr_ray.errors import DatasetError


class ImagePaths:
    r"""The images of an archive by their paths.

    A path names an image if it is its `image_id`, its URI, or only its file name where one image has it. Spaces around
    a path, a leading `./`, `\` instead of `/`, repeated slashes, and the two ways of Unicode to write accents do not matter.
    """

    def __init__(self, images: Iterable[tuple[str, str]]) -> None:
        """Index images.

        Args:
            images: `image_id` and URI of each image.
        """
        self._exact: dict[str, int] = {}
        self._plain: dict[str, list[int]] = defaultdict(list)
        self._base_names: dict[str, list[int]] = defaultdict(list)
        for position, (image_id, uri) in enumerate(images):
            self._exact[image_id] = position
            plain = plain_path(image_id)
            for path in {plain, plain_path(uri)}:
                self._plain[path].append(position)
            self._base_names[plain.rpartition("/")[2]].append(position)

    def find(self, path: str, line: int) -> int | None:
        """Position of the image that `path` names, or None if it names none.

        Args:
            path: as a table names it.
            line: line of the table, for the error.

        Raises:
            DatasetError: if it names several images.
        """
        if path in self._exact:
            return self._exact[path]
        plain = plain_path(path)
        found = self._plain.get(plain) or ([] if "/" in plain else self._base_names.get(plain, []))
        if len(found) > 1:
            raise DatasetError(
                f"line {line} of metadata.csv names {len(found)} images by {path!r}; write their paths with all folders"
            )
        return found[0] if found else None


def plain_path(path: str) -> str:
    r"""Write a path or a local URI with `/`, without `./`, `file://`, repeated slashes, and spaces around it."""
    plain = unicodedata.normalize("NFC", path.strip()).replace("\\", "/")
    scheme, separator, rest = plain.rpartition("://")
    rest = re.sub(r"/(?:\.?/)+", "/", f"/{rest}" if not rest.startswith("/") else rest)
    if separator and scheme not in ("file", "local"):
        return f"{scheme}://{rest.removeprefix('/')}"
    return rest if separator or plain.startswith("/") else rest.removeprefix("/")
