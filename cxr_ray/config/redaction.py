"""Secrets that a URI can carry, taken out of what is printed and recorded."""

import re
from typing import Any

HIDDEN = "***"
CONTAINER_BEFORE_HOST = ("abfs", "abfss", "wasb", "wasbs")
"""Schemes whose `name@host` names a container and no user."""

_USER_INFO = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:(?P<name>[^/@:\s]+)@|[^/@:\s]*:(?!\d+(?:[/\s]|$))[^@\s]*@)", re.IGNORECASE
)
# The punctuation of a sentence that follows a URI is no part of its query.
_QUERY = re.compile(r"([a-z][a-z0-9+.-]*://[^\s?]*)\?\S*?=\S*?(?=[;:,.)'\"]*(?:\s|$))", re.IGNORECASE)


def redacted(text: str) -> str:
    """`text` with the user name and password (`s3://key:secret@...`) and the query (`?X-Amz-Signature=...`) of every URI in it replaced by `***`.

    Text without such a URI comes back unchanged. `#`, `%` and a `?` without a `=` after it stand for themselves in a
    URI, and stay.
    """
    return _QUERY.sub(rf"\1?{HIDDEN}", _USER_INFO.sub(_without_user, text))


def _without_user(found: re.Match[str]) -> str:
    is_container = found["name"] is not None and found["scheme"].lower() in CONTAINER_BEFORE_HOST
    return found[0] if is_container else f"{found['scheme']}://{HIDDEN}@"


def redacted_values(value: Any) -> Any:
    """`value` with every text in it redacted, to any depth of dicts, lists and tuples; other objects stay as they are."""
    match value:
        case str():
            return redacted(value)
        case dict():
            return {redacted_values(key): redacted_values(item) for key, item in value.items()}
        case list():
            return [redacted_values(item) for item in value]
        case tuple():
            return tuple(redacted_values(item) for item in value)
        case _:
            return value
