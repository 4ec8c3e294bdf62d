"""Names of the files that are written for images of anywhere: inside one folder, and each its own."""

import re
from collections.abc import Iterable, Sequence

LONGEST_STEM = 80


def picture_names(sources: Sequence[str], *, suffix: str, taken: Iterable[str] = ()) -> list[str]:
    """A file name for each source: the last part of its path without its ending, and `suffix`.

    A name has no separators, does not begin with a dot, and differs from every other also where a file system takes
    upper and lower case for the same; a second one of a name gets `_2` before the suffix.

    Args:
        sources: paths or URIs.
        suffix: such as `_prediction.png`.
        taken: names that no result may have.
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
    """Last part of a path or URI without its ending, of letters, digits, spaces, `_`, `-` and `.`; `image` if none is left."""
    last = last_part(source)
    stem = last.rpartition(".")[0] or last
    return re.sub(r"[^\w .-]", "_", stem).strip(" .")[:LONGEST_STEM] or "image"


def last_part(source: str) -> str:
    """What follows the last slash or backslash of a path or URI."""
    return re.split(r"[/\\]", source.rstrip("/\\"))[-1]
