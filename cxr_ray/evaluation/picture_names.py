"""File names for pictures of images from any folder or URI: safe, and unique within one output folder."""

import re
from collections.abc import Iterable, Sequence

LONGEST_STEM = 80


def picture_names(sources: Sequence[str], *, suffix: str, taken: Iterable[str] = ()) -> list[str]:
    """Build a unique file name for each source from its last path component without its extension, and `suffix`.

    A name contains no separator and does not start with a dot. Names are unique even on a file system that ignores
    case; a second image of the same name gets `_2` before the suffix.

    Args:
        sources: paths or URIs of the images.
        suffix: end of every name, such as `_prediction.png`.
        taken: names that must not be used.

    Returns:
        One name for each source, in their order.
    """
    used = {name.casefold() for name in taken}
    names = []
    for source in sources:
        stem, number = safe_stem(source), 1
        name = f"{stem}{suffix}"
        while name.casefold() in used:
            number += 1
            name = f"{stem}_{number}{suffix}"
        used.add(name.casefold())
        names.append(name)
    return names


def safe_stem(source: str) -> str:
    """Reduce a path or URI to its last component without extension, at most 80 characters, safe as a file name.

    Characters other than letters, digits, spaces, `_`, `-` and `.` become `_`. The result is `image` if no character
    remains.
    """
    last = last_part(source)
    stem = last.rpartition(".")[0] or last
    return re.sub(r"[^\w .-]", "_", stem).strip(" .")[:LONGEST_STEM] or "image"


def last_part(source: str) -> str:
    """Return the last component of a path or URI: the text after its last slash or backslash, ignoring trailing ones."""
    return re.split(r"[/\\]", source.rstrip("/\\"))[-1]
