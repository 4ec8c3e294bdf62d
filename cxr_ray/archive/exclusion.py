"""Shell patterns of names that a listing leaves out, and which of them matched nothing."""

from collections.abc import Sequence
from fnmatch import fnmatchcase


class Exclusion:
    """Shell patterns of names to leave out; `*` also matches `/`.

    A pattern such as `*/masks/*` or `/masks/*` also matches in the listed folder itself, so it leaves out `masks/1.png`.

    Args:
        patterns: the patterns, relative to the listed folder.
    """

    def __init__(self, patterns: Sequence[str]) -> None:
        self._patterns = patterns
        self._unmatched = set(patterns)

    def covers(self, name: str) -> bool:
        """Whether a pattern matches `name`; every pattern that matches it counts as used."""
        matching = {pattern for pattern in self._patterns if _matches(name, pattern)}
        self._unmatched -= matching
        return bool(matching)

    @property
    def unmatched(self) -> list[str]:
        """The patterns that matched no name so far, in the given order."""
        return [pattern for pattern in self._patterns if pattern in self._unmatched]


def _matches(name: str, pattern: str) -> bool:
    # The slash is added only for patterns that name one at their start: [!a]* would match it.
    is_rooted = pattern.lstrip("*").startswith("/")
    return fnmatchcase(name, pattern) or (is_rooted and fnmatchcase(f"/{name}", pattern))
